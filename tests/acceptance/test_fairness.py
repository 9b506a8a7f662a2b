"""Fairness among companies, with real workers and a real broker: nobody waits for another's month end, hold or limit."""

from collections.abc import Iterator
from uuid import UUID

import pytest
from sqlalchemy import text

from pipeline.bootstrap import build_vault, utc_now
from pipeline.domain.credentials import CompanyCredentials
from pipeline.embedded.liveness import wait_until
from pipeline.storage.companies import save_company

from .installation import Installation, ids_of
from .operator_side import COMPANY_A, COMPANY_B, USER_KEY, VENDOR_KEY, Sent
from .papers import papers

MONTH_END = 3000
"""Stands for 100,000; with that many rows the pump itself is held to it in tests/integration/services."""
HELD = "00000000-0000-4000-8000-0000000000f1"
LIMITED = "00000000-0000-4000-8000-0000000000f2"
OTHERS = {HELD: "Kielletty Oy", LIMITED: "Hidas Oy"}

LIMIT = text("UPDATE company SET uploads_per_second = 1 WHERE id = :id")
STOP = text("UPDATE company SET hold_reason = 'the test is over', check_at = now() + interval '1 hour'")
IN_FLIGHT = text("SELECT count(*) FROM invoice WHERE lease_until > now()")
UNUSED = ("access_token", "company")
DISTINCT = 30
"""Documents of a month end; the others are the same ones under UUIDs of their own: making them is not what is tested."""
MULTIPLY = text("""
    INSERT INTO invoice (id, company_id, document_sha256, document_at, size, filename, options, state, epoch, due_at, uploads, tries,
        looks, format, submitted_at, changed_at)
    SELECT gen_random_uuid(), company_id, document_sha256, document_at, size, filename, options, 'queued', 0, due_at, 0, 0, 0, format,
        submitted_at, changed_at FROM invoice, generate_series(2, :times) WHERE id = ANY(:ids)
    RETURNING id, encode(document_sha256, 'hex')
""")


@pytest.fixture
def crowd(line: Installation) -> Iterator[Installation]:
    """The installation with two more companies: one that the operator lets not in, one limited to one upload a second."""
    vault = build_vault(line.settings)
    line.operator.company(HELD, company_state="UNVERIFIED")
    line.operator.company(LIMITED, company_state="VERIFIED")
    with line.database.transaction() as session:
        for company, name in OTHERS.items():
            keys = CompanyCredentials(company_id=UUID(company), user_api_key=USER_KEY, vendor_api_key=VENDOR_KEY)
            save_company(session, keys, name=name, vault=vault, now=utc_now())
        session.connection().execute(LIMIT, {"id": LIMITED})
    yield line
    end(line)
    line.fresh()
    with line.database.transaction() as session:
        for table in UNUSED:
            column = "company_id" if table == "access_token" else "id"
            session.connection().execute(text(f"DELETE FROM {table} WHERE {column} = ANY(:ids)"), {"ids": list(OTHERS)})


def submit_month_end(line: Installation, count: int) -> list[Sent]:
    sent = line.submit(papers(DISTINCT), company=COMPANY_A, wait_seconds=1)
    with line.database.transaction() as session:
        rows = session.connection().execute(MULTIPLY, {"ids": ids_of(sent), "times": count // DISTINCT}).all()
    return [*sent, *(Sent(uuid=str(row[0]), sha256=row[1]) for row in rows)]


def end(line: Installation) -> None:
    """Leave what is not sent yet unsent, and the next test alone with what is its own."""
    with line.database.transaction() as session:
        session.connection().execute(STOP)

    def landed() -> bool:
        with line.database.transaction() as session:
            return not session.connection().execute(IN_FLIGHT).scalar_one()

    assert wait_until(landed, seconds=30, poll_seconds=0.1)


def test_one_invoice_is_accepted_beside_a_month_end(line: Installation):
    """A submits 3,000, then B one: B's is accepted within seconds, before a quarter of A's."""
    before = line.uploads()
    month_end = submit_month_end(line, MONTH_END)
    line.wait_for_uploads(100, month_end, since=before)
    first = line.taken(month_end)

    single = line.submit(papers(1), company=COMPANY_B)
    line.wait_until_taken(single, seconds=30)

    meanwhile = line.taken(month_end) - first
    assert meanwhile < MONTH_END / 4, f"{meanwhile} of A's were accepted before B's one"
    line.assert_once(single)
    end(line)


def test_held_and_limited_companies_slow_nobody(crowd: Installation):
    """Beside a held company and one limited to one upload a second, with much to send, a third one sends at full speed."""
    held = crowd.submit(papers(100), company=HELD)
    limited = crowd.submit(papers(100), company=LIMITED)
    crowd.wait_for(lambda: crowd.taken(limited) > 0, "a first upload of the limited company", limited, seconds=30)
    crowd.wait_for(lambda: crowd.hold_reasons()[HELD] is not None, "a hold", held, seconds=30)
    first = crowd.taken(limited)

    sent = crowd.submit(papers(100), company=COMPANY_B)
    crowd.wait_until_taken(sent, seconds=60)

    meanwhile = crowd.taken(limited) - first
    assert crowd.taken(held) == 0
    # Taking turns with the limited company, one of its for each of the others, they would take 100 seconds.
    assert meanwhile < len(sent) / 2, f"{meanwhile} of the limited company's went while {len(sent)} of another did"
    crowd.assert_once(sent)


def test_a_single_invoice_passes_all_of_them(crowd: Installation):
    """Beside a month end, a held and a limited company at once, a single invoice goes before a quarter of the month end."""
    crowd.submit(papers(100), company=HELD)
    crowd.submit(papers(100), company=LIMITED)
    before = crowd.uploads()
    month_end = submit_month_end(crowd, MONTH_END)
    crowd.wait_for_uploads(100, month_end, since=before)
    first = crowd.taken(month_end)

    single = crowd.submit(papers(1), company=COMPANY_B)
    crowd.wait_until_taken(single, seconds=30)

    assert crowd.taken(month_end) - first < MONTH_END / 4
    crowd.assert_once(single)
