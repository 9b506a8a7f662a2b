"""What a proof reads and does in the database: how long acceptance took, who waits for a company, cut connections."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from pipeline.domain.errors import ServiceUnavailableError
from pipeline.domain.state import State
from pipeline.storage.disturbing import drop_connections
from pipeline.storage.settling import count_held_for_company, read_p95_seconds, read_states

from .rows import NOW, change, query, queue


def test_p95_is_counted_from_submission_to_acceptance(database, company):
    for place, uuid in enumerate(queue(database, company, 21)):
        accepted_at = NOW + timedelta(seconds=place)
        change(database, "UPDATE invoice SET accepted_at = :at WHERE id = :id", at=accepted_at, id=uuid)
    queue(database, company, 5)

    with database.transaction() as session:
        assert read_p95_seconds(session) == pytest.approx(19.0)


def test_p95_is_unknown_before_the_first_acceptance(database, company):
    queue(database, company)

    with database.transaction() as session:
        assert read_p95_seconds(session) is None


def test_only_what_waits_for_its_company_goes_on_by_itself(database, company):
    for uuid, held_for in zip(queue(database, company, 3), ("company", "company", "person"), strict=True):
        statement = (
            "UPDATE invoice SET state = 'held', held_for = :held_for, reason = 'no', due_at = NULL WHERE id = :id"
        )
        change(database, statement, held_for=held_for, id=uuid)

    with database.transaction() as session:
        assert count_held_for_company(session) == 2


def test_dropped_connections_break_a_transaction_and_no_later_one(database, company):
    uuids = queue(database, company, 2)

    # The whole transaction is what is expected to fail.
    with pytest.raises(ServiceUnavailableError), database.transaction() as session:  # noqa: PT012
        session.connection().execute(text("UPDATE invoice SET number = '7'"))
        with database.transaction() as other:
            dropped = drop_connections(other)
        session.connection().execute(text("SELECT 1"))

    assert dropped >= 1
    rows = query(database, "SELECT number FROM invoice WHERE id = ANY(:ids)", ids=uuids)
    assert [row.number for row in rows] == [None, None]


def test_states_are_read_of_some_or_of_all(database, company):
    first, second = queue(database, company, 2)

    with database.transaction() as session:
        assert read_states(session, [second]) == {second: State.QUEUED}
        assert read_states(session) == {first: State.QUEUED, second: State.QUEUED}
