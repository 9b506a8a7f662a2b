"""The tasks: ids in, one service call, numbers out for Flower. No rule of the trade is decided here."""

from functools import cache
from uuid import UUID, uuid4

from pipeline.bootstrap import Machine, build_dispatcher
from pipeline.services.dispatch import Dispatcher
from workers.app import app
from workers.bell import ring, ring_route
from workers.lifecycle import current
from workers.publisher import CeleryPublisher, most_bytes


@cache
def _dispatcher(machine: Machine) -> Dispatcher:
    publisher = CeleryPublisher(most=most_bytes(machine.settings))
    return build_dispatcher(machine.settings, database=machine.database, publisher=publisher, clock=machine.clock)


# Ticks go without events: rung every second, they would push everything else out of Flower.
@app.task(name="dispatch", send_events=False)  # type: ignore[untyped-decorator]  # Celery ships no types
def dispatch() -> dict[str, int]:
    """Hand out what is due."""
    return {"handed_out": _dispatcher(current().machine).run(uuid4())}


@app.task(name="send")  # type: ignore[untyped-decorator]
def send(*, company_id: str, epoch: int, invoices: list[str]) -> dict[str, int]:
    """Upload a chunk."""
    process = current()
    counts = process.run(process.machine.sender.send(UUID(company_id), [UUID(i) for i in invoices], epoch=epoch))
    if counts and _dispatcher(process.machine).is_wanted():  # a message that came too late frees no place
        ring()
    return dict(counts)


@app.task(name="probe")  # type: ignore[untyped-decorator]
def probe(*, company_id: str, epoch: int, invoices: list[str]) -> dict[str, int]:
    """Ask about a chunk that is in doubt."""
    process = current()
    counts = process.run(process.machine.sender.probe(UUID(company_id), [UUID(i) for i in invoices], epoch=epoch))
    if counts and _dispatcher(process.machine).is_wanted():  # a message that came too late frees no place
        ring()
    return dict(counts)


@app.task(name="follow", send_events=False)  # type: ignore[untyped-decorator]
def follow() -> dict[str, int]:
    """Look at what the operator holds."""
    process = current()
    counts = dict(process.run(process.machine.follower.run(uuid4())))
    if counts.get("failed"):
        ring_route()
    return counts


@app.task(name="backup_look", send_events=False)  # type: ignore[untyped-decorator]
def backup_look() -> dict[str, int]:
    """Have everything open looked at that nobody asked about for a day."""
    process = current()
    return {"to_look_at": process.run(process.machine.follower.backup(uuid4()))}


@app.task(name="partner_errors", send_events=False)  # type: ignore[untyped-decorator]
def partner_errors() -> dict[str, int]:
    """Read the partner's list of failures, where a company may."""
    process = current()
    return {"hints": process.run(process.machine.partner_errors.run(uuid4()))}


@app.task(name="route")  # type: ignore[untyped-decorator]
def route() -> dict[str, int]:
    """Open cases, ask the rules, and take the ways out that are due."""
    process = current()
    counts = dict(process.run(process.machine.router.run(uuid4())))
    if counts.get("resent") or counts.get("retried"):
        ring()
    return counts


@app.task(name="check_holds", send_events=False)  # type: ignore[untyped-decorator]
def check_holds() -> dict[str, int]:
    """Let held companies go on that may."""
    process = current()
    return {"released": process.run(process.machine.hold_keeper.run(uuid4()))}


@app.task(name="watch", send_events=False)  # type: ignore[untyped-decorator]
def watch() -> dict[str, int]:
    """Look for what a person must hear of, and fold the counters."""
    process = current()
    return {"done": process.run(process.machine.watch.run(uuid4()))}


@app.task(name="upkeep", send_events=False)  # type: ignore[untyped-decorator]
def upkeep() -> dict[str, int]:
    """Make months before they come, and put finished invoices away."""
    process = current()
    return {"shelved": process.run(process.machine.upkeep.run(uuid4()))}


@app.task(name="retention", send_events=False)  # type: ignore[untyped-decorator]
def retention() -> dict[str, int]:
    """Drop at night what need not be kept any longer."""
    process = current()
    dropped = process.run(process.machine.retention.run(uuid4(), at_night_only=True))
    return {"parts": len(dropped.left), "rows": sum(each.rows for each in dropped.left)}
