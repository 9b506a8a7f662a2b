"""A proof of chaos in words for a person, and the stories of what went wrong. Judges nothing."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from rich.table import Table

from pipeline.cli.chaos_report import Entries, Proof
from pipeline.cli.output import escape, out
from pipeline.cli.show_story import timeline
from pipeline.domain.errors import UnknownInvoiceError
from pipeline.storage.database import Database
from pipeline.storage.reading import read_story

STORIES = 20
"""Of so many invoices the whole story is told; the UUIDs of all are."""


def stories_of(database: Database, uuids: Sequence[str], ledger: Entries) -> tuple[dict[str, object], ...]:
    """Return the whole story of each invoice with what the operator's ledger says of it."""
    return tuple(_story_of(database, UUID(uuid), ledger.get(uuid)) for uuid in uuids[:STORIES])


def _story_of(database: Database, uuid: UUID, entry: Mapping[str, Any] | None) -> dict[str, object]:
    try:
        with database.transaction() as session:
            story = read_story(session, uuid)
    except UnknownInvoiceError:
        return {"uuid": uuid, "state": None, "operator": entry, "timeline": ()}
    moments = [{"at": each.at, "who": each.who, "kind": each.kind, "what": each.what} for each in timeline(story)]
    return {"uuid": uuid, "state": story.invoice.state, "operator": entry, "timeline": moments}


def print_proof(proof: Proof, *, plan: str, seed: int) -> None:
    """Print the proof: the counts, what was injected, and what went wrong with its whole story."""
    console = out()
    counts = proof.as_json()
    names = ("submitted", "accepted", "delivered", "failed", "held", "lost", "doubled", "altered")
    p95 = "-" if proof.p95_seconds is None else f"{proof.p95_seconds:.1f} s"
    console.print(" · ".join([*(f"{name} {counts[name]:,}" for name in names), f"p95 {p95}"]), soft_wrap=True)
    console.print(_struck_table(proof))
    console.print(f"{len(proof.mid_flight)} kinds of fault struck while invoices were being sent.")
    if proof.tried_again:
        console.print(f"Producers got no answer and submitted the same again {proof.tried_again:,} times.")
    for words in _complaints(proof):
        console.print(f"[bold red]{escape(words)}[/]", soft_wrap=True)
    for story in proof.stories:
        _print_story(story)
    verdict = "[bold green]Once, whatever happened[/]" if proof.is_well else "[bold red]Not proven[/]"
    console.print(f"{verdict} ({proof.seconds:.1f} s, plan {escape(plan)}, seed {seed}, rounds {proof.struck.rounds}).")


def _struck_table(proof: Proof) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    table.add_column("struck")
    for name in ("times", "mid-flight", "invoices in the air", "missed"):
        table.add_column(name, justify="right")
    kinds = dict.fromkeys((*sorted(proof.struck.kinds), *sorted(proof.struck.missed), *proof.all_struck))
    for kind in kinds:
        beside = (proof.mid_flight, proof.struck.in_the_air, proof.struck.missed)
        table.add_row(kind, str(proof.all_struck.get(kind, 0)), *(str(counts.get(kind) or "") for counts in beside))
    return table


def _complaints(proof: Proof) -> list[str]:
    findings = proof.findings
    complaints = [f"lost: {uuid}" for uuid in findings.lost]
    complaints += [f"doubled: {uuid}, {times} too many" for uuid, times in findings.doubled.items()]
    complaints += [f"altered: {uuid}" for uuid in findings.altered]
    complaints += [f"the operator's status differs from our state: {uuid}" for uuid in findings.disagreeing]
    if not proof.balanced:
        complaints.append("a batch does not add up")
    if proof.submitted != proof.offered:
        complaints.append(f"{proof.offered - proof.submitted:,} of {proof.offered:,} invoices could not be submitted")
    if proof.unsettled is not None:
        complaints.append(f"not settled: {proof.unsettled}")
    return complaints


def _print_story(story: Mapping[str, Any]) -> None:
    console = out()
    console.print(f"[bold]{story['uuid']}[/]: {story['state'] or 'not in the database'}")
    operator = story["operator"] or {}
    known = {name: operator.get(name) for name in ("held", "status", "uploads", "faults", "reroutes")}
    console.print(f"  operator: {escape(str(known if operator else 'never heard of it'))}", soft_wrap=True)
    for moment in story["timeline"]:
        console.print(f"  {moment['at']:%H:%M:%S.%f} {moment['who']}: {escape(str(moment['what']))}", soft_wrap=True)
