"""What the database itself refuses, whatever the code above it asks for."""

import pytest
from sqlalchemy.exc import DBAPIError, IntegrityError

from pipeline.domain.state import TRANSITIONS, State

from .rows import NOW, change, query, queue

PLACE = """
    UPDATE invoice SET state = :state, lease_until = :now, due_at = :now, reason = 'x', accepted_at = :now
    WHERE id = :id
"""
MOVE = "UPDATE invoice SET state = :state WHERE id = :id"


def place(database, invoice_id, state):
    """Put an invoice into a state past the guard, with every column any state may need."""
    change(database, "ALTER TABLE invoice DISABLE TRIGGER invoice_guard")
    change(database, PLACE, state=state.value, now=NOW, id=invoice_id)
    change(database, "ALTER TABLE invoice ENABLE TRIGGER invoice_guard")


@pytest.mark.parametrize("source", State)
def test_the_trigger_allows_the_moves_of_the_table_and_no_other(database, company, source):
    allowed = set()
    for target in State:
        (invoice_id,) = queue(database, company)
        place(database, invoice_id, source)
        try:
            change(database, MOVE, state=target.value, id=invoice_id)
        except IntegrityError as exc:
            assert "no move leads from" in str(exc.orig)  # noqa: PT017 - a refusal is the expected answer for most
        else:
            allowed.add(target)

    assert allowed - {source} == TRANSITIONS[source]


def test_the_transition_table_equals_the_domains(database):
    rows = {(row.source, row.target) for row in query(database, "SELECT source, target FROM transition")}

    assert rows == {(source.value, target.value) for source in State for target in TRANSITIONS[source]}


@pytest.mark.parametrize("state", [state for state in State if state is not State.QUEUED])
def test_an_invoice_begins_queued(database, company, state):
    queue(database, company)

    with pytest.raises(IntegrityError, match="must begin as queued"):
        change(
            database,
            """INSERT INTO invoice (id, company_id, document_sha256, document_at, size, filename, options, state, reason,
                epoch, lease_until, due_at, uploads, tries, looks, format, submitted_at, accepted_at, changed_at)
            SELECT gen_random_uuid(), company_id, document_sha256, document_at, size, filename, options, :state, 'x', 0,
                due_at, due_at, 0, 0, 0, format, submitted_at, submitted_at, changed_at FROM invoice LIMIT 1""",
            state=state.value,
        )


@pytest.mark.parametrize(
    ("column", "value"),
    [("id", "gen_random_uuid()"), ("document_sha256", "'\\x00'"), ("company_id", "gen_random_uuid()")],
)
def test_what_an_invoice_is_never_changes(database, company, column, value):
    queue(database, company)

    with pytest.raises(IntegrityError, match="never change"):
        change(database, f"UPDATE invoice SET {column} = {value}")


def test_epochs_never_go_back(database, company):
    queue(database, company)
    change(database, "UPDATE invoice SET epoch = 7")
    change(database, "UPDATE invoice SET epoch = 7")

    with pytest.raises(IntegrityError, match="epoch 6 is older than 7"):
        change(database, "UPDATE invoice SET epoch = 6")


@pytest.mark.parametrize("change_sql", ["content = 'x'", "size = 0", "kind = 'ZIP'", "sha256 = 'x'"])
def test_documents_are_immutable(database, company, change_sql):
    queue(database, company)

    with pytest.raises(IntegrityError, match="a document never changes"):
        change(database, f"UPDATE document SET {change_sql}")


def test_a_document_in_use_cannot_be_deleted(database, company):
    queue(database, company)

    with pytest.raises(IntegrityError, match="goes with its month"):
        change(database, "DELETE FROM document")


@pytest.mark.parametrize(
    ("state", "missing", "constraint"),
    [
        *((state, "due_at", "invoice_due_has_time") for state in (State.QUEUED, State.WAITING, State.IN_DOUBT)),
        (State.SENDING, "lease_until", "invoice_sending_has_lease"),
        *((state, "reason", "invoice_stop_has_reason") for state in (State.HELD, State.REFUSED)),
        *(
            (state, "accepted_at", "invoice_accepted_has_time")
            for state in (State.ACCEPTED, State.DELIVERED, State.FAILED)
        ),
    ],
    ids=lambda value: value.value if isinstance(value, State) else value,
)
def test_each_state_keeps_what_it_needs(database, company, state, missing, constraint):
    (invoice_id,) = queue(database, company)
    place(database, invoice_id, state)

    with pytest.raises(IntegrityError, match=constraint):
        change(database, f"UPDATE invoice SET {missing} = NULL WHERE id = :id", id=invoice_id)


def test_an_uploaded_invoice_cannot_be_cancelled(database, company):
    (invoice_id,) = queue(database, company)
    place(database, invoice_id, State.HELD)
    change(database, "UPDATE invoice SET uploads = 1")

    with pytest.raises(IntegrityError, match="invoice_cancelled_never_left"):
        change(database, MOVE, state="cancelled", id=invoice_id)


def test_an_unknown_state_is_refused(database, company):
    (invoice_id,) = queue(database, company)

    with pytest.raises(DBAPIError):
        change(database, MOVE, state="sent", id=invoice_id)
