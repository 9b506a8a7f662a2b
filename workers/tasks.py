"""The tasks: ids in, one service call, numbers out for Flower. No rule of the trade is decided here."""

from uuid import UUID, uuid4

from pipeline.bootstrap import build_dispatcher
from workers.app import app
from workers.bell import ring
from workers.lifecycle import current
from workers.publisher import CeleryPublisher


# Ticks go without events: rung every second, they would push everything else out of Flower.
@app.task(name="dispatch", send_events=False)  # type: ignore[untyped-decorator]  # Celery ships no types
def dispatch() -> dict[str, int]:
    """Hand out what is due."""
    machine = current().machine
    dispatcher = build_dispatcher(
        machine.settings, database=machine.database, publisher=CeleryPublisher(machine.settings), clock=machine.clock
    )
    return {"handed_out": dispatcher.run(uuid4())}


@app.task(name="send")  # type: ignore[untyped-decorator]
def send(*, company_id: str, epoch: int, invoices: list[str]) -> dict[str, int]:
    """Upload a chunk."""
    process = current()
    counts = process.run(process.machine.sender.send(UUID(company_id), [UUID(i) for i in invoices], epoch=epoch))
    ring()
    return dict(counts)


@app.task(name="probe")  # type: ignore[untyped-decorator]
def probe(*, company_id: str, epoch: int, invoices: list[str]) -> dict[str, int]:
    """Ask about a chunk that is in doubt."""
    process = current()
    counts = process.run(process.machine.sender.probe(UUID(company_id), [UUID(i) for i in invoices], epoch=epoch))
    ring()
    return dict(counts)


@app.task(name="follow")  # type: ignore[untyped-decorator]
def follow() -> dict[str, int]:
    """Look at what the operator holds."""
    process = current()
    return dict(process.run(process.machine.follower.run()))


@app.task(name="check_holds", send_events=False)  # type: ignore[untyped-decorator]
def check_holds() -> dict[str, int]:
    """Let held companies go on that may."""
    process = current()
    return {"released": process.run(process.machine.hold_keeper.run())}
