"""Companies and invoices put into the database by hand, and looks at what became of them."""

import hashlib
from datetime import UTC, datetime, timedelta
from threading import Event
from uuid import UUID, uuid4

from sqlalchemy import text

from pipeline.domain.consequence import Consequence
from pipeline.domain.credentials import CompanyCredentials
from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.domain.state import State
from pipeline.storage import claims, dispatching
from pipeline.storage.companies import save_company
from pipeline.storage.submissions import NewInvoice, insert_invoice

NOW = datetime(2026, 11, 1, 2, 0, tzinfo=UTC)
LEASE = timedelta(seconds=30)
WAITING_FOR_A_LOCK = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
GIVE_UP_AT = NOW + timedelta(days=7)


def add_company(database, vault, name="Acme"):
    company_id = uuid4()
    credentials = CompanyCredentials(company_id=company_id, user_api_key="user-key-1", vendor_api_key="vendor-key-1")
    with database.transaction() as session:
        save_company(session, credentials, name=name, vault=vault, now=NOW)
    return company_id


def new_invoice(company_id, *, batch=None, content=None, uuid=None):
    content = content or f"<Finvoice>{uuid4()}</Finvoice>".encode()
    return NewInvoice(
        id=uuid or uuid4(),
        company_id=company_id,
        content=content,
        sha256=hashlib.sha256(content).digest(),
        kind="XML",
        filename="invoice.xml",
        reference=None,
        batch=batch,
        options_json="{}",
        format="UNKNOWN",
        number=None,
        issue_date=None,
        total=None,
        currency=None,
        seller_name=None,
        buyer_name=None,
    )


def queue(database, company_id, count=1, *, now=NOW):
    invoices = [new_invoice(company_id) for _ in range(count)]
    with database.transaction() as session:
        for invoice in invoices:
            insert_invoice(session, invoice, now=now)
    return [invoice.id for invoice in invoices]


def stamp(database, ids, *, until=NOW + LEASE):
    with database.transaction() as session:
        return dispatching.stamp(session, [ids], now=NOW, until=until)[0]


def claim(database, ids, *, epoch, now=NOW, probes=False):
    take = claims.claim_probes if probes else claims.claim_uploads
    with database.transaction() as session:
        return take(session, ids, epoch=epoch, now=now, lease=LEASE, give_up_at=GIVE_UP_AT)


def record(database, claimed, kind, target, *, epoch, now=NOW, **changes):
    consequence = Consequence(target=target, reason=f"because {kind.value}", give_up_at=GIVE_UP_AT, **changes)
    moves = [claims.Move(claimed=each, outcome=Outcome(kind=kind), consequence=consequence) for each in claimed]
    with database.transaction() as session:
        return claims.record(session, moves, epoch=epoch, now=now)


def bring_into_doubt(database, ids, *, now=NOW):
    """Upload without an answer; the invoices are then due for a probe."""
    epoch = stamp(database, ids, until=now + LEASE)
    claimed = claim(database, ids, epoch=epoch, now=now)
    record(database, claimed, OutcomeKind.IN_DOUBT, State.IN_DOUBT, epoch=epoch, now=now, due_at=now)


def query(database, statement, **parameters):
    with database.transaction() as session:
        return session.connection().execute(text(statement), parameters).all()


def change(database, statement, **parameters):
    with database.transaction() as session:
        session.connection().execute(text(statement), parameters)


def invoice(database, invoice_id: UUID):
    return query(database, "SELECT * FROM invoice WHERE id = :id", id=invoice_id)[0]


def attempts(database, invoice_id: UUID):
    return query(database, "SELECT * FROM attempt WHERE invoice_id = :id ORDER BY number", id=invoice_id)


def events(database, invoice_id: UUID):
    return query(database, "SELECT * FROM event WHERE invoice_id = :id ORDER BY id", id=invoice_id)


def wait_for_a_lock(database):
    """Return when some session of this database waits for a row that another one holds."""
    for _ in range(1000):
        if query(database, WAITING_FOR_A_LOCK):
            return
        Event().wait(0.01)
    raise AssertionError("nobody waited for a lock within 10 seconds")
