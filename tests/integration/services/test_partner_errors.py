"""The partner error list: a hint for whoever it names, never a fact."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from pipeline.domain.outcome import Outcome
from pipeline.services.partner_errors import PartnerErrors
from pipeline.services.ports import FailedSomewhere

from .line import START, K

PARTNER_SCOPES = "eui partner:invoice_delivery_actions"


@pytest.fixture
def partner(line):
    partner = line.add_company("Partner")
    line.change("UPDATE company SET scopes = :scopes WHERE id = :id", scopes=PARTNER_SCOPES, id=partner)
    return partner


@pytest.fixture
def delivered(line):
    (uuid,) = line.submit()
    line.work()
    line.operator.statuses_of[uuid] = "DELIVERED"
    line.clock.pass_seconds(2)
    line.follow()
    return uuid


def read_errors(line):
    parts = {
        "database": line.database,
        "vault": line.vault,
        "operator": line.operator,
        "settings": line.settings,
        "clock": line.clock,
    }
    return asyncio.run(PartnerErrors(**parts).run(uuid4()))


def read_until(line, company):
    return line.query("SELECT errors_read_until AS at FROM company WHERE id = :id", id=company)[0].at


def test_a_failure_told_with_a_partners_keys_is_looked_at_at_once(line, partner, delivered):
    """A row of the error list makes a linked company's invoice be read; only the read says that it failed."""
    line.operator.errors = [FailedSomewhere(company_id=line.company, invoice_id=delivered)]
    assert read_errors(line) == 1
    assert line.states([delivered]) == ["delivered"]

    assert line.follow() == {"delivered": 1}
    line.operator.statuses_of[delivered] = "FAILED"
    assert read_errors(line) == 1
    assert line.follow() == {"failed": 1}
    assert read_errors(line) == 0


def test_the_span_goes_on_where_the_last_one_ended_and_overlaps(line, partner):
    read_errors(line)
    line.clock.pass_seconds(3600)
    read_errors(line)

    first, second = line.operator.error_spans
    assert first == (START - timedelta(days=1), START)
    assert second == (START - timedelta(minutes=10), START + timedelta(hours=1))


def test_only_companies_with_the_right_are_asked(line, delivered):
    line.change("UPDATE company SET scopes = 'eui partner:invoice_delivery_actions_of_others'")
    line.operator.errors = [FailedSomewhere(company_id=line.company, invoice_id=delivered)]

    assert read_errors(line) == 0
    assert line.operator.error_spans == []


@pytest.mark.parametrize("kind", [K.UNAVAILABLE, K.UNAUTHORIZED, K.IN_DOUBT])
def test_a_list_that_could_not_be_read_is_read_from_there_the_next_time(line, partner, kind):
    line.operator.errors = Outcome(kind=kind, message="no")

    assert read_errors(line) == 0

    assert read_until(line, partner) is None
    assert line.query("SELECT 1 FROM company WHERE hold_reason IS NOT NULL") == []


def test_nothing_is_read_as_done_before_its_hints_are_stored(line, partner, delivered):
    line.operator.errors = [FailedSomewhere(company_id=line.company, invoice_id=delivered)]
    line.change("ALTER TABLE invoice ADD CONSTRAINT no_hint CHECK (look_at > '2026-11-01 03:00+00') NOT VALID")

    with pytest.raises(Exception, match="no_hint"):
        read_errors(line)

    assert read_until(line, partner) is None


@pytest.mark.parametrize("row", ["other company", "unknown invoice"])
def test_a_row_that_is_not_ours_changes_nothing(line, partner, delivered, row):
    stranger = FailedSomewhere(company_id=line.company, invoice_id=uuid4())
    wrong = FailedSomewhere(company_id=partner, invoice_id=delivered)
    line.operator.errors = [wrong if row == "other company" else stranger]

    assert read_errors(line) == 0
    assert line.row(delivered).look_at > line.clock()


def test_an_invoice_nobody_looks_at_any_more_is_looked_at_again(line, partner, delivered):
    line.change("UPDATE invoice SET look_at = NULL")
    line.operator.errors = [FailedSomewhere(company_id=line.company, invoice_id=delivered)]

    assert read_errors(line) == 1
    assert line.row(delivered).look_at == line.clock()


def test_an_overdue_look_keeps_its_turn(line, partner, delivered):
    line.change("UPDATE invoice SET look_at = :at", at=START)
    line.operator.errors = [FailedSomewhere(company_id=line.company, invoice_id=delivered)]

    assert read_errors(line) == 1
    assert line.row(delivered).look_at == START
