"""Companies: their holds, and their keys, which nobody can read without the encryption key."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import pytest

from pipeline.domain.consequence import Consequence
from pipeline.domain.credentials import CompanyCredentials
from pipeline.domain.errors import ConfigurationError, InvalidInputError, UnknownCompanyError
from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.domain.state import State
from pipeline.storage import claims, companies
from pipeline.storage.vault import Vault, new_key

from .rows import NOW, add_company, change, claim, events, invoice, query, queue, record, stamp, wait_for_a_lock

CAUSE = "the operator lets the company in"


def hold(database, company, reason="HTTP 401"):
    with database.transaction() as session:
        return companies.hold_company(session, company, reason=reason, now=NOW)


def release(database, company):
    with database.transaction() as session:
        return companies.release_company(session, company, cause=CAUSE, now=NOW)


def hold_by_answer(database, invoice_id, company):
    """Upload, be turned away, and hold invoice and company as a worker does."""
    epoch = stamp(database, [invoice_id])
    claimed = claim(database, [invoice_id], epoch=epoch)
    record(database, claimed, OutcomeKind.UNAUTHORIZED, State.HELD, epoch=epoch, held_for="company")
    hold(database, company)


def test_the_first_cause_of_a_hold_stands(database, company):
    assert (hold(database, company, "first"), hold(database, company, "second")) == (True, False)

    with database.transaction() as session:
        assert companies.find_company(session, company).hold_reason == "first"


def test_a_held_company_is_left_out_and_another_is_not(database, company, vault):
    queue(database, company, 3)
    (other,) = queue(database, add_company(database, vault, "Beta"))
    hold(database, company)

    with database.transaction() as session:
        assert [each.id for each in claims.pick_due(session, now=NOW, room=10)] == [other]


def test_a_release_lets_the_company_and_its_invoices_go_on(database, company):
    uploaded, fresh, of_a_person = queue(database, company, 3)
    hold_by_answer(database, uploaded, company)
    change(
        database,
        "UPDATE invoice SET state = 'held', held_for = 'company', reason = 'x' WHERE id = :id",
        id=fresh,
    )
    change(
        database,
        "UPDATE invoice SET state = 'held', held_for = 'person', reason = 'x' WHERE id = :id",
        id=of_a_person,
    )

    assert release(database, company) == 2

    rows = [invoice(database, each) for each in (uploaded, fresh, of_a_person)]
    assert [row.state for row in rows] == ["in_doubt", "queued", "held"]
    assert (rows[0].due_at, rows[0].give_up_at, rows[0].held_for) == (NOW, None, None)
    assert events(database, uploaded)[-1].cause == CAUSE
    with database.transaction() as session:
        assert companies.find_company(session, company).hold_reason is None


def test_a_writer_from_before_the_release_is_late(database, company):
    (invoice_id,) = queue(database, company)
    epoch = stamp(database, [invoice_id])
    claimed = claim(database, [invoice_id], epoch=epoch)
    record(database, claimed, OutcomeKind.UNAUTHORIZED, State.HELD, epoch=epoch, held_for="company")
    release(database, company)

    assert record(database, claimed, OutcomeKind.ACCEPTED, State.ACCEPTED, epoch=epoch) == set()


def test_an_invoice_held_while_the_company_is_released_is_not_forgotten(database, company):
    (invoice_id,) = queue(database, company)
    hold(database, company)
    epoch = stamp(database, [invoice_id])
    claimed = claim(database, [invoice_id], epoch=epoch)

    with ThreadPoolExecutor(1) as threads:
        with database.transaction() as session:
            claims.record(session, [turned_away(claimed[0])], epoch=epoch, now=NOW)
            companies.hold_company(session, company, reason="HTTP 401", now=NOW)
            released = threads.submit(release, database, company)
            wait_for_a_lock(database)
        released.result(timeout=10)

    with database.transaction() as session:
        still_held = companies.find_company(session, company).hold_reason is not None
    assert still_held or invoice(database, invoice_id).state == "in_doubt"


def turned_away(claimed):
    consequence = Consequence(target=State.HELD, reason="HTTP 401", held_for="company")
    return claims.Move(claimed=claimed, outcome=Outcome(kind=OutcomeKind.UNAUTHORIZED), consequence=consequence)


def test_holds_are_checked_in_turn(database, company):
    hold(database, company)

    with database.transaction() as session:
        minute = timedelta(seconds=60)
        assert companies.take_holds_to_check(session, now=NOW, before=NOW - minute) == []
        assert companies.take_holds_to_check(session, now=NOW + minute, before=NOW) == [company]
        assert companies.take_holds_to_check(session, now=NOW + minute, before=NOW) == []


def test_keys_are_encrypted_at_rest(database, company):
    (row,) = query(database, "SELECT * FROM company")

    stored = b"|".join(value if isinstance(value, bytes) else str(value).encode() for value in row)
    assert b"user-key-1" not in stored
    assert b"vendor-key-1" not in stored
    assert row.user_api_key != row.vendor_api_key


def test_keys_come_back_with_the_right_encryption_key(database, company, vault):
    with database.transaction() as session:
        credentials = companies.read_credentials(session, company, vault=vault)

    assert (credentials.user_api_key, credentials.vendor_api_key) == ("user-key-1", "vendor-key-1")
    assert "user-key-1" not in repr(credentials)


def test_a_wrong_encryption_key_is_a_configuration_error(database, company):
    with database.transaction() as session, pytest.raises(ConfigurationError, match="cannot be decrypted") as caught:
        companies.read_credentials(session, company, vault=Vault([new_key()]))

    assert "\n" not in str(caught.value)


def test_an_encryption_key_can_be_changed(database, company, vault):
    old, new = new_key(), new_key()
    company = add_company(database, Vault([old]), "Beta")

    with database.transaction() as session:
        both = companies.read_credentials(session, company, vault=Vault([new, old]))
        companies.save_company(session, both, name="Beta", vault=Vault([new, old]), now=NOW)
    with database.transaction() as session:
        assert companies.read_credentials(session, company, vault=Vault([new])) == both


@pytest.mark.parametrize("keys", [["short"], ["å" * 44], [], [""]], ids=["short", "not ascii", "none", "empty"])
def test_an_unusable_encryption_key_is_a_configuration_error(keys):
    with pytest.raises(ConfigurationError, match="encryption key"):
        Vault(keys)


def test_a_company_is_found_by_uuid_text_and_name(database, company):
    with database.transaction() as session:
        found = [companies.find_company(session, named).id for named in (company, str(company), "Acme")]

    assert found == [company] * 3


@pytest.mark.parametrize("named", ["Nobody", uuid4(), str(uuid4()), "", "a\0b", "\udcff"])
def test_an_unknown_company_is_named(database, named):
    with database.transaction() as session, pytest.raises(UnknownCompanyError, match="unknown company"):
        companies.find_company(session, named)


def test_a_name_belongs_to_one_company(database, company, vault):
    with pytest.raises(InvalidInputError, match="already called 'Acme'"):
        add_company(database, vault, "Acme")


def test_a_company_saved_again_keeps_its_uuid_and_takes_the_new_keys(database, company, vault):
    credentials = CompanyCredentials(company_id=company, user_api_key="new-user", vendor_api_key="new-vendor")

    with database.transaction() as session:
        created = companies.save_company(session, credentials, name="Acme Oy", vault=vault, now=NOW)

    with database.transaction() as session:
        assert created is False
        assert companies.read_credentials(session, company, vault=vault) == credentials
        assert [each.name for each in companies.list_companies(session)] == ["Acme Oy"]
