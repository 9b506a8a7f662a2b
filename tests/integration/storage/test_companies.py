"""Companies: their holds, and their keys, which nobody can read without the encryption key."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import pytest

from pipeline.domain.consequence import Consequence
from pipeline.domain.credentials import CompanyCredentials
from pipeline.domain.errors import ConfigurationError, InvalidInputError, UnknownCompanyError
from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.domain.state import State
from pipeline.storage import claims, companies, dispatching, holding
from pipeline.storage.alarms import list_alarms
from pipeline.storage.vault import Vault, new_key

from .rows import (
    LEASE,
    NOW,
    add_company,
    bring_into_doubt,
    change,
    claim,
    events,
    invoice,
    query,
    queue,
    record,
    stamp,
    wait_for_a_lock,
)

CAUSE = "the operator lets the company in"


def hold(database, company, reason="HTTP 401"):
    with database.transaction() as session:
        return companies.hold_company(session, company, reason=reason, now=NOW)


def release(database, company, *, trial=False):
    with database.transaction() as session:
        return companies.release_company(session, company, cause=CAUSE, now=NOW, trial=trial)


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
    other = add_company(database, vault, "Beta")
    queue(database, other)
    hold(database, company)

    with database.transaction() as session:
        assert [each.id for each in dispatching.find_contenders(session, now=NOW, little=10)] == [other]


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

    minute = timedelta(seconds=60)
    assert take_checks(database, NOW + timedelta(seconds=59)) == []
    assert take_checks(database, NOW + minute) == [company]
    assert take_checks(database, NOW + minute) == []
    assert take_checks(database, NOW + 2 * minute) == [company]


def take_checks(database, now):
    with database.transaction() as session:
        return companies.take_holds_to_check(session, now=now)


def find(database, company):
    with database.transaction() as session:
        return companies.find_company(session, company)


def test_holds_in_a_row_are_checked_ever_later_up_to_an_hour(database, company):
    """A cause that the check cannot see, as a daily limit, costs one invoice a time, ever more seldom."""
    waits = []
    for _ in range(9):
        hold(database, company)
        waits.append((find(database, company).check_at - NOW).total_seconds() / 60)
        release(database, company, trial=True)

    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_an_acceptance_makes_holds_count_anew(database, company):
    for _ in range(3):
        hold(database, company)
        release(database, company, trial=True)
    with database.transaction() as session:
        assert companies.note_let_in(session, company, now=NOW) is True
        assert companies.note_let_in(session, company, now=NOW) is False

    hold(database, company)

    assert find(database, company).holds == 1


def test_an_answer_from_before_the_hold_does_not_end_it(database, company):
    hold(database, company)

    with database.transaction() as session:
        assert companies.note_let_in(session, company, now=NOW) is False

    assert (find(database, company).holds, find(database, company).hold_reason) == (1, "HTTP 401")


def test_a_hold_raises_an_alarm_and_says_what_to_do(database, company):
    with database.transaction() as session:
        companies.hold_company(session, company, reason="Unauthorized", now=NOW)
        companies.renew_hold(session, company, reason="the keys are wrong", advice="enter new ones", now=NOW)

    with database.transaction() as session:
        (alarm,) = list_alarms(session)
    assert (alarm.kind, alarm.subject, alarm.company_id) == ("company_held", str(company), company)
    assert alarm.told == "Acme is held: the keys are wrong. What to do: enter new ones"
    assert find(database, company).hold_advice == "enter new ones"

    release(database, company)
    with database.transaction() as session:
        assert list_alarms(session) == []
    assert (find(database, company).hold_advice, find(database, company).check_at) == (None, None)


def test_a_hold_without_advice_gets_the_one_for_its_words(database, company):
    with database.transaction() as session:
        companies.hold_company(session, company, reason="Unauthorized", now=NOW)

    assert "auth_email" in find(database, company).hold_advice


def hold_waiting(database, now=NOW + holding.LASTING, **limit):
    with database.transaction() as session:
        return holding.hold_waiting(session, now=now, **limit)


def go_on(database, now=NOW, **limit):
    with database.transaction() as session:
        return holding.let_go_on(session, now=now, **limit)


def states(database, ids):
    return [invoice(database, each).state for each in ids]


def test_all_that_waits_of_a_held_company_is_held(database, company, vault):
    """Queued, waiting and in doubt alike, with the cause, burning nothing; what a worker has is left to it."""
    queued, waiting, in_doubt, with_a_worker, on_its_way = queue(database, company, 5)
    (other,) = queue(database, add_company(database, vault, "Beta"))
    bring_into_doubt(database, [in_doubt, waiting])
    change(database, "UPDATE invoice SET state = 'waiting', tries = 4 WHERE id = :id", id=waiting)
    claim(database, [with_a_worker], epoch=stamp(database, [with_a_worker]))
    stamp(database, [on_its_way])
    hold(database, company, "no right to send")

    assert (hold_waiting(database), hold_waiting(database)) == (3, 0)

    assert states(database, [queued, waiting, in_doubt, with_a_worker, on_its_way, other]) == [
        *("held", "held", "held", "sending", "queued", "queued")
    ]
    row = invoice(database, waiting)
    assert (row.held_for, row.reason, row.due_at, row.lease_until) == ("company", "no right to send", None, None)
    assert (row.uploads, row.tries, row.give_up_at) == (1, 4, None)
    told = [(e.source, e.target, e.cause) for e in events(database, waiting) if e.kind == "held"]
    assert told == [("waiting", "held", "no right to send")]
    assert hold_waiting(database, NOW + LEASE) == 1
    assert states(database, [on_its_way]) == ["held"]


def test_a_hold_of_seconds_moves_nothing(database, company):
    """A token that is lost for a moment moves no backlog to and fro."""
    uuids = queue(database, company, 3)
    hold(database, company)

    assert hold_waiting(database, NOW + holding.LASTING - timedelta(seconds=1)) == 0
    assert release(database, company, trial=True) == 0
    assert states(database, uuids) == ["queued"] * 3


def test_what_waits_is_held_in_pieces_and_goes_on_in_pieces(database, company):
    uuids = queue(database, company, 5)
    hold(database, company)

    assert [hold_waiting(database, limit=2) for _ in range(4)] == [2, 2, 1, 0]
    assert release(database, company, trial=True) == 1
    assert go_on(database) == 0
    with database.transaction() as session:
        companies.note_let_in(session, company, now=NOW)
    assert [go_on(database, limit=2) for _ in range(4)] == [2, 2, 0, 0]
    assert states(database, uuids) == ["queued"] * 5


def test_the_one_on_trial_was_never_uploaded_if_there_is_such_a_one(database, company):
    uploaded, fresh = queue(database, company, 2)
    hold_by_answer(database, uploaded, company)
    hold_waiting(database)

    release(database, company, trial=True)

    assert states(database, [uploaded, fresh]) == ["held", "queued"]


def test_a_trial_without_an_answer_ends_by_itself(database, company):
    uuids = queue(database, company, 3)
    hold(database, company)
    hold_waiting(database)
    release(database, company, trial=True)

    assert go_on(database, NOW + companies.TRIAL - timedelta(seconds=1)) == 0
    assert go_on(database, NOW + companies.TRIAL) == 2
    assert states(database, uuids) == ["queued"] * 3


def test_a_wall_moves_one_invoice_a_time(database, company):
    """Thousands that wait for a daily limit are not moved to and fro with every check."""
    uuids = queue(database, company, 10)
    hold(database, company)
    hold_waiting(database)
    for _ in range(5):
        release(database, company, trial=True)
        hold(database, company)
        hold_waiting(database)

    assert sum(len(events(database, each)) for each in uuids) == 10 * 2 + 5 * 2


@pytest.mark.parametrize("held_first", [True, False], ids=["hold first", "release first"])
def test_nothing_stays_held_with_a_company_that_is_well(database, company, held_first):
    """A release and the holding of what waits, at the same time in either order, forget no invoice."""
    uuids = queue(database, company, 3)
    hold(database, company)
    first, second = (hold_waiting, release) if held_first else (release, hold_waiting)
    begin = {
        hold_waiting: lambda session: holding.hold_waiting(session, now=NOW + holding.LASTING),
        release: lambda session: companies.release_company(session, company, cause=CAUSE, now=NOW),
    }

    with ThreadPoolExecutor(1) as threads:
        with database.transaction() as session:
            begin[first](session)
            later = (
                threads.submit(second, database)
                if second is hold_waiting
                else threads.submit(second, database, company)
            )
            wait_for_a_lock(database)
        later.result(timeout=10)

    assert states(database, uuids) == ["queued"] * 3


def test_stragglers_are_found_and_go_on(database, company):
    (straggler, of_a_person) = queue(database, company, 2)
    statement = "UPDATE invoice SET state = 'held', held_for = :whom, reason = 'x', due_at = NULL WHERE id = :id"
    change(database, statement, id=straggler, whom="company")
    change(database, statement, id=of_a_person, whom="person")
    assert go_on(database) == 0

    with database.transaction() as session:
        assert holding.mark_stragglers(session, now=NOW) == [company]

    assert go_on(database) == 1
    assert states(database, [straggler, of_a_person]) == ["queued", "held"]
    with database.transaction() as session:
        assert holding.mark_stragglers(session, now=NOW) == []


def test_new_keys_make_holds_count_anew(database, company, vault):
    for _ in range(3):
        hold(database, company)
        release(database, company, trial=True)
    credentials = CompanyCredentials(company_id=company, user_api_key="new", vendor_api_key="new")
    with database.transaction() as session:
        companies.save_company(session, credentials, name="Acme", vault=vault, now=NOW)

    assert find(database, company).holds == 0


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


@pytest.mark.parametrize("named", ["Nobody", UUID(int=404), str(UUID(int=404)), "", "a\0b", "\udcff"])
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
