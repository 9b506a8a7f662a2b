"""`postiljon bench NAME`: the measurements by name, each with its options. Imports what it measures when asked."""

import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli.output import friendly_errors

RESULTS = Path(__file__).parent / "results"
FULL_PER_SECOND = 2000.0
LOAD_SHARE = 0.2
bench_app = typer.Typer(
    name="bench",
    help="Measure, as ratios of things run side by side in one go on this machine.",
    no_args_is_help=True,
    context_settings={"auto_envvar_prefix": "POSTILJON_BENCH", "help_option_names": ["-h", "--help"]},
)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else on stdout.")]
Save = Annotated[bool, typer.Option("--save", help="Keep the result in bench/results, for the page.")]
Seed = Annotated[int, typer.Option(min=0, help="Same seed, same invoices.")]
Latency = Annotated[float, typer.Option(min=0, help="How long the operator takes to answer.")]


@bench_app.command("end-to-end", epilog="Example: postiljon bench end-to-end --invoices 5000 --only postiljon --json")
def end_to_end(
    invoices: Annotated[int, typer.Option(min=1, help="How many invoices Postiljon sends; the others fewer.")] = 50_000,
    only: Annotated[
        list[str] | None, typer.Option(help="Measure these alone, postiljon or a rival; repeatable.")
    ] = None,
    submit: Annotated[
        str, typer.Option(help="while: the clock runs from the first submit; before: all stand.")
    ] = "while",
    send_processes: Annotated[int | None, typer.Option(min=1, help="Send processes; else the product's own.")] = None,
    companies: Annotated[int, typer.Option(min=1, help="Whose invoices they are, in equal shares.")] = 1,
    setting: Annotated[list[str] | None, typer.Option(help="POSTILJON_NAME=VALUE; repeatable.")] = None,
    rival_invoices: Annotated[int | None, typer.Option(min=1, help="At most so many for each rival.")] = None,
    latency_ms: Latency = 100.0,
    seed: Seed = 1,
    as_json: Json = False,
    save: Save = False,
) -> None:
    """Submitted to accepted: invoices a second, CPU by process, memory, beside others in the same run."""
    from bench.compare import compare, table
    from bench.end_to_end import Order

    order = Order(
        invoices=invoices,
        seed=seed,
        latency_ms=latency_ms,
        companies=companies,
        send_processes=send_processes,
        submit_first=submit == "before",
        settings=dict(each.split("=", 1) for each in setting or ()),
    )
    with scratch() as folder:
        result = compare(folder, order, only=only or (), rival_invoices=rival_invoices)
    give("end-to-end", result, text=table(result), as_json=as_json, save=save)


@bench_app.command("growth", epilog="Example: postiljon bench growth --sizes 1e4,1e5,1e6 --stream 120 --json")
def growth(
    sizes: Annotated[str, typer.Option(help="Invoices of history, growing: 1e4,1e5,1e6,1e7.")] = "1e4,1e5",
    runs: Annotated[int, typer.Option(min=1, help="How often each part is measured.")] = 20,
    plans: Annotated[bool, typer.Option("--plans", help="Add the statements that touch most.")] = False,
    stream: Annotated[float, typer.Option(min=0, help="Seconds of work beside the largest, to see autovacuum.")] = 0.0,
    seed: Seed = 7,
    as_json: Json = False,
    save: Save = False,
) -> None:
    """Every part of the line beside a growing history: what is flat, what it takes on disk, autovacuum at work."""
    from bench.growth.growing import Order, grow
    from bench.growth.shown import table
    from bench.history.writing import plan_before
    from pipeline.bootstrap import utc_now

    with scratch() as folder:
        wanted = tuple(sorted(int(float(size)) for size in sizes.split(",")))
        plan = plan_before(utc_now(), seed=seed)
        result = grow(folder, Order(sizes=wanted, plan=plan, runs=runs, plans=plans, stream_seconds=stream))
    give("growth", result, text=table(result), as_json=as_json, save=save)


@bench_app.command("broker", epilog="Example: postiljon bench broker --backlog 1e6 --hours 1 --json")
def broker(
    backlog: Annotated[float, typer.Option(min=1, help="Invoices that wait in the database.")] = 1e5,
    hours: Annotated[float, typer.Option(min=0, help="How long no worker reads, by a clock that is moved.")] = 0.25,
    as_json: Json = False,
    save: Save = False,
) -> None:
    """What the broker holds beside a backlog in the database while no worker reads."""
    from bench.growth.broker import hold
    from bench.growth.shown import broker_table

    with scratch() as folder:
        result = hold(folder, int(backlog), hours=hours)
    give("broker", result, text=broker_table(result), as_json=as_json, save=save)


Count = Annotated[int, typer.Option(min=1, help="How many invoices.")]


@bench_app.command("transports", epilog="Example: postiljon bench transports --invoices 5000")
def transports(
    invoices: Count = 5000, latency_ms: Latency = 100.0, seed: Seed = 1, as_json: Json = False, save: Save = False
) -> None:
    """The upload client over each transport, without queue and database."""
    from bench import inside
    from bench.end_to_end import Order

    with scratch() as folder:
        result = inside.transports(folder, Order(invoices=invoices, seed=seed, latency_ms=latency_ms))
    give("transports", result, text=inside.table(result), as_json=as_json, save=save)


def _vary(name: str, help_text: str) -> None:
    def command(
        invoices: Count = 10_000,
        value: Annotated[list[int] | None, typer.Option(min=1, help="Try these instead; repeatable.")] = None,
        submit: Annotated[str, typer.Option(help="while or before, as in end-to-end.")] = "before",
        latency_ms: Latency = 100.0,
        seed: Seed = 1,
        as_json: Json = False,
        save: Save = False,
    ) -> None:
        from bench import inside
        from bench.end_to_end import Order

        order = Order(invoices=invoices, seed=seed, latency_ms=latency_ms, submit_first=submit == "before")
        with scratch() as folder:
            result = inside.vary(name, folder, order, values=value or ())
        give(name, result, text=inside.table(result), as_json=as_json, save=save)

    bench_app.command(name, help=help_text, epilog=f"Example: postiljon bench {name} --invoices 10000")(command)


_vary("chunks", "End to end by how many invoices one message carries.")
_vary("concurrency", "End to end by how many uploads a process has in the air.")
_vary("processes", "End to end by the number of send processes.")


@bench_app.command("one", epilog="Example: postiljon bench one --invoices 200 --load-per-second 200")
def one(
    invoices: Count = 200,
    load_per_second: Annotated[
        float | None, typer.Option(min=1, help="Of other invoices; else 20 % of the last end-to-end figure kept.")
    ] = None,
    latency_ms: Latency = 100.0,
    seed: Seed = 1,
    as_json: Json = False,
    save: Save = False,
) -> None:
    """One invoice from submit to accepted, over the operator's own time: idle, and beside other work."""
    from bench import moments

    with scratch() as folder:
        result = moments.one(
            folder, invoices=invoices, load_per_second=load_per_second or _fifth(), latency_ms=latency_ms, seed=seed
        )
    give("one", result, text=rows_table(result), as_json=as_json, save=save)


def _moment(name: str, usual: int, help_text: str) -> None:
    def command(
        invoices: Count = usual, latency_ms: Latency = 100.0, seed: Seed = 1, as_json: Json = False, save: Save = False
    ) -> None:
        from bench import moments

        measure = {"status": moments.status, "recovery": moments.recovery}[name]
        with scratch() as folder:
            result = measure(folder, invoices=invoices, latency_ms=latency_ms, seed=seed)
        give(name, result, text=rows_table(result), as_json=as_json, save=save)

    bench_app.command(name, help=help_text, epilog=f"Example: postiljon bench {name} --invoices {usual}")(command)


_moment("status", 100_000, "So many pending invoices looked at: seconds and calls.")
_moment("recovery", 10_000, "A send process is killed under load: how long until its invoices move again.")


@bench_app.command("memory", epilog="Example: postiljon bench memory --invoices 20000 --archives 20")
def memory(
    invoices: Count = 20_000,
    archives: Annotated[int, typer.Option(min=0, help="ZIPs submitted beside as many invoices again.")] = 20,
    megabytes: Annotated[float, typer.Option(min=0.1, help="How large each is.")] = 19.5,
    latency_ms: Latency = 100.0,
    seed: Seed = 1,
    as_json: Json = False,
    save: Save = False,
) -> None:
    """What each kind of worker process takes at its peak, without and with big archives in the air."""
    from bench import memory as measured

    with scratch() as folder:
        result = measured.memory(
            folder, invoices=invoices, archives=archives, megabytes=megabytes, latency_ms=latency_ms, seed=seed
        )
    give("memory", result, text=rows_table(result), as_json=as_json, save=save)


@bench_app.command("submit", epilog="Example: postiljon bench submit --invoices 10000 --invoices 100000")
def submit_files(
    invoices: Annotated[list[int] | None, typer.Option(min=1, help="How many; repeatable.")] = None,
    seed: Seed = 1,
    as_json: Json = False,
    save: Save = False,
) -> None:
    """Files, a manifest and single invoices: durable ones a second, CPU, and memory by their number."""
    from bench.submits import submits

    with scratch() as folder:
        result = submits(folder, invoices=invoices or (10_000, 100_000), seed=seed)
    give("submit", result, text=rows_table(result), as_json=as_json, save=save)


def _fifth() -> float:
    path = RESULTS / "end-to-end.json"
    kept = json.loads(path.read_text(encoding="utf-8"))["invoices_per_second"] if path.exists() else None
    return round((kept or FULL_PER_SECOND) * LOAD_SHARE, 1)


def rows_table(result: dict[str, Any]) -> str:
    """Write rows as they are, a column for each key."""
    rows = result["rows"]
    names = list(rows[0])
    lines = ["| " + " | ".join("" if name == "value" else name.replace("_", " ") for name in names) + " |"]
    lines.append("|---" * len(names) + "|")
    lines += ["| " + " | ".join(shown(row[name]) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def shown(value: object) -> str:
    """Write a cell."""
    return f"{value:,}" if isinstance(value, int | float) else str(value)


@contextmanager
def scratch() -> Iterator[Path]:
    """Lend a folder that is gone afterwards; SIGTERM ends everything as Ctrl-C does."""
    signal.signal(signal.SIGTERM, _leave)
    folder = Path(tempfile.mkdtemp(prefix="postiljon-bench-"))
    try:
        with friendly_errors():
            yield folder
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: everything was stopped\n")
        raise typer.Exit(130) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def give(name: str, result: dict[str, object], *, text: str, as_json: bool, save: bool) -> None:
    """Print a result, and keep it for the page."""
    whole = json.dumps(result, indent=2, ensure_ascii=False)
    print(whole if as_json else text)
    if save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.json").write_text(whole + "\n", encoding="utf-8")


def _leave(_number: int, _frame: object) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
