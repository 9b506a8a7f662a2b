"""The console script `postiljon`: the command line of the pipeline with Celery's bell, and benches where they are."""

import sys

import typer

from pipeline.cli.main import build_cli


def main() -> None:
    """Run the command line."""
    cli = build_cli(_ring)
    try:
        # They come with the source tree and not with the wheel: a production image has nothing to measure itself with.
        from bench.command import bench_app  # noqa: PLC0415 - may not be there
    except ImportError:
        cli.command("bench", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(_no_benches)
    else:
        cli.add_typer(bench_app, name="bench")
    cli()


def _no_benches() -> None:
    """Measure (in the source tree only)."""
    sys.stderr.write(
        "error: the benches are in Postiljon's source tree: make install-dev there, then postiljon bench\n"
    )
    raise typer.Exit(2)


def _ring() -> None:
    # Most commands never ring, and Celery is the slowest import of all.
    from workers.bell import ring  # noqa: PLC0415 - imported when first rung

    ring()


if __name__ == "__main__":
    main()
