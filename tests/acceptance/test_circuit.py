"""An operator that is down is left alone by the whole fleet, and taken up again by one canary and slowly."""

from collections.abc import Sequence
from time import monotonic
from typing import Any

from pytest_celery import CeleryTestSetup
from sqlalchemy import text

from pipeline.embedded.liveness import wait_until

from .installation import Installation, ids_of
from .operator_side import Sent
from .papers import papers

INVOICES = 1000
"""More than the processes have in the air when the first failures come."""
CANARIES = 2
RACES = 2
"""Canaries under way while two numbers are read one after the other."""
LATENCY_MS = 250.0
AT_FIRST = 20
"""Exchanges in the second after the canary: one at a time in each process makes about 12, all at once hundreds."""
CIRCUITS = text("SELECT * FROM circuit WHERE state <> 'closed'")
ALARMS = text("SELECT subject, told, raised_at, ended_at FROM alarm WHERE kind = 'circuit_open'")
BURNT = text("""
    SELECT count(*) FILTER (WHERE uploads > 0 OR give_up_at IS NOT NULL) AS begun, coalesce(max(tries), 0) AS tries,
        coalesce(sum(uploads), 0) AS uploads, (SELECT count(*) FROM attempt WHERE invoice_id = ANY(:ids)) AS attempts
    FROM invoice WHERE id = ANY(:ids)
""")


def rows(line: Installation, statement: Any, **parameters: Any) -> Sequence[Any]:
    with line.database.transaction() as session:
        return session.connection().execute(statement, parameters).all()


def trips(line: Installation) -> int:
    return max((row.trips for row in rows(line, CIRCUITS)), default=0)


def burnt(line: Installation, sent: Sequence[Sent]) -> Any:
    return rows(line, BURNT, ids=ids_of(sent))[0]


def arrived(line: Installation) -> int:
    return sum(line.operator.outage()["arrived"].values())


def exchanges(line: Installation) -> int:
    """How many requests ever reached the operator, whatever became of them."""
    return sum(lane["arrived"] for lane in line.operator.totals()["arrivals"]["operator"].values())


def count_the_first_second(line: Installation) -> int:
    """Wait for the first request that arrives and count for one second from then."""
    before = exchanges(line)
    assert wait_until(lambda: exchanges(line) > before, seconds=10, poll_seconds=0.01)
    over = monotonic() + 1
    assert wait_until(lambda: monotonic() >= over, seconds=5, poll_seconds=0.01)
    return exchanges(line) - before


def test_operator_that_is_down_gets_canaries_only(celery_setup: CeleryTestSetup, line: Installation):
    """While the operator is down nothing is burnt but one canary at a time; then all goes out, slowly first, and once."""
    assert celery_setup.ready(ping=False)
    first = line.submit(papers(1))
    line.wait_until_taken(first, seconds=20)

    line.operator.begin_outage("503")
    sent = line.submit(papers(INVOICES))
    # What was in the air at the opening is down by the time the first canary has failed.
    line.wait_for(lambda: trips(line) >= 2, "an open circuit and a failed canary", sent, seconds=20)
    before, asked, opened = burnt(line, sent), arrived(line), trips(line)
    line.wait_for(lambda: trips(line) >= opened + CANARIES, f"{CANARIES} canaries that failed", sent, seconds=20)
    after, canaries = burnt(line, sent), trips(line) - opened + RACES

    assert arrived(line) - asked <= canaries
    assert after.attempts - before.attempts <= canaries
    assert after.begun - before.begun <= canaries
    assert after.begun < INVOICES
    [circuit] = rows(line, CIRCUITS)
    [alarm] = rows(line, ALARMS)
    assert (alarm.subject, alarm.ended_at) == (circuit.scope, None)
    assert "has not answered since" in alarm.told

    line.operator.knobs(latency_ms=LATENCY_MS)
    line.operator.end_outage()
    assert count_the_first_second(line) <= AT_FIRST
    line.wait_until_taken(sent, seconds=25)
    line.assert_once(sent)
    assert all(row.ended_at for row in rows(line, ALARMS))
