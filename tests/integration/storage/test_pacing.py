"""Turns, pauses and what is learned, on a real PostgreSQL with many at it at once."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise
from random import Random
from uuid import uuid4

import pytest
from sqlalchemy import text

from pipeline.bootstrap import utc_now
from pipeline.domain.credentials import CompanyCredentials
from pipeline.domain.pace import NotYet, Pace, Turns
from pipeline.domain.turnstile import Lane
from pipeline.maventa.verdict import RETRY_AFTER_LIMIT_SECONDS
from pipeline.settings import settings_from
from pipeline.storage.companies import save_company
from pipeline.storage.pacing import Noted, note, read_paces, reserve, seat
from tests.integration.services.line import START

HOST = "operator.example"
ENOUGH = 8
UPLOAD, READ = Lane.UPLOAD, Lane.READ
PLAIN = settings_from({})


def seconds(number):
    return timedelta(seconds=number)


@pytest.fixture
def company(database, vault):
    return str(add_company(database, vault))


def add_company(database, vault):
    company_id = uuid4()
    keys = CompanyCredentials(company_id=company_id, user_api_key="u", vendor_api_key="v")
    with database.transaction() as session:
        save_company(session, keys, name=str(company_id), vault=vault, now=START)
    return company_id


def limit(database, company, *, uploads=None, reads=None):
    with database.transaction() as session:
        session.connection().execute(
            text("UPDATE company SET uploads_per_second = :uploads, reads_per_second = :reads WHERE id = :id"),
            {"uploads": uploads, "reads": reads, "id": company},
        )


def paces(database, settings=PLAIN, *, now=START, **how):
    with database.transaction() as session:
        return read_paces(session, settings, now, **how)


def write(database, noted, *, settings=PLAIN, now=START):
    with database.transaction() as session:
        seat(session, noted)
    with database.transaction() as session:
        note(session, noted, host=HOST, settings=settings, now=now)


def take(database, host, company=None, *, wanted=1, now=START):
    with database.transaction() as session:
        seat(session, [(each.scope, each.lane) for each in (host, company) if each])
    with database.transaction() as session:
        return reserve(session, host=host, company=company, wanted=wanted, clock=lambda: now)


def pace(scope, per_second, lane=UPLOAD):
    return Pace(scope=scope, lane=lane, limit=per_second)


def test_nothing_is_limited_at_first(database, company):
    found = paces(database, host=HOST)

    assert {key: each.limit for key, each in found.items()} == {
        (scope, lane): None for scope in (HOST, company) for lane in Lane
    }


def test_limits_come_from_settings_and_companies(database, vault, company):
    """A company's own limit wins over the common one; the host's is the settings'."""
    other = str(add_company(database, vault))
    limit(database, company, uploads=3.0)
    settings = settings_from(
        {
            "POSTILJON_UPLOADS_PER_SECOND": "50",
            "POSTILJON_READS_PER_SECOND": "70",
            "POSTILJON_COMPANY_UPLOADS_PER_SECOND": "7",
        }
    )

    found = paces(database, settings, host=HOST)

    assert (found[HOST, UPLOAD].limit, found[HOST, READ].limit) == (50, 70)
    assert (found[company, UPLOAD].limit, found[company, READ].limit) == (3, None)
    assert found[other, UPLOAD].limit == 7


def test_only_what_binds_may_be_read(database, vault, company):
    add_company(database, vault)
    limit(database, company, uploads=3.0)

    found = paces(database, host=HOST, binding_only=True)

    assert set(found) == {(HOST, UPLOAD), (HOST, READ), (company, UPLOAD)}


def test_turns_follow_each_other(database):
    first = take(database, pace(HOST, 20), wanted=3)
    second = take(database, pace(HOST, 20))

    assert isinstance(first, Turns)
    assert isinstance(second, Turns)
    assert list(first.at) == [START, START + seconds(0.065)]
    assert list(second.at) == [START + seconds(0.13)]


def test_lanes_have_their_own_turns(database):
    take(database, pace(HOST, 20, UPLOAD))

    other = take(database, pace(HOST, 20, READ))

    assert isinstance(other, Turns)
    assert list(other.at) == [START]


def test_limited_company_leaves_the_hosts_turns_alone(database, company):
    host, slow = pace(HOST, 20), pace(company, 1)
    take(database, host, slow)

    refused = take(database, host, slow, wanted=9, now=START + seconds(0.5))
    other = take(database, host, now=START + seconds(0.5))

    assert refused == NotYet(until=START + seconds(1.3), spacing=seconds(1.3))
    assert isinstance(other, Turns)
    assert list(other.at) == [START + seconds(0.5)]


@pytest.mark.parametrize("hours", [1, 48])
@pytest.mark.parametrize("per_second", [20, 0.2])
def test_turns_of_a_clock_that_jumped_back_hold_up_nobody(database, company, hours, per_second):
    """After the clock jumped back, the next turn comes as soon as spacing explains, for host and company alike."""
    ahead = START + timedelta(hours=hours)
    host, ours = pace(HOST, 20), pace(company, per_second)
    take(database, host, ours, now=ahead)

    first = take(database, host, ours, now=START)
    until = START + ours.spacing + seconds(0.7)
    then = take(database, host, ours, now=until)

    assert isinstance(first, NotYet)
    assert START < first.until <= until
    assert isinstance(then, Turns)
    assert then.at[0] <= until


def test_pause_of_a_clock_that_jumped_back_is_ignored(database, company):
    """A pause longer than any Retry-After is believed stops nobody, and makes no room for shorter ones either."""
    write(database, {(company, UPLOAD): Noted(blocked_until=START + timedelta(hours=30))})

    assert paces(database)[company, UPLOAD].blocked_until is None
    assert isinstance(take(database, pace(HOST, 20), pace(company, 5)), Turns)
    write(database, {(company, UPLOAD): Noted(blocked_until=START + seconds(9))})
    assert paces(database)[company, UPLOAD].blocked_until == START + seconds(9)


def test_speed_decays_after_the_clock_jumped_back(database):
    write(database, {(HOST, UPLOAD): Noted(taken=600)}, now=START + timedelta(hours=1))
    write(database, {(HOST, UPLOAD): Noted(taken=1)}, now=START)

    assert paces(database, now=START + seconds(60))[HOST, UPLOAD].speed < 0.5


def test_longest_retry_after_is_believed(database, company):
    until = START + seconds(RETRY_AFTER_LIMIT_SECONDS + 6)
    write(database, {(company, UPLOAD): Noted(blocked_until=until)})

    assert paces(database)[company, UPLOAD].blocked_until == until


def test_pause_stops_turns_of_all(database, company):
    write(database, {(company, UPLOAD): Noted(blocked_until=START + seconds(9))})

    refused = take(database, pace(HOST, 20), pace(company, None))

    assert isinstance(refused, NotYet)
    assert refused.is_blocked


def test_pause_is_never_shortened(database, company):
    """A later, shorter Retry-After takes nothing from a longer one."""
    write(database, {(company, UPLOAD): Noted(throttled=1, blocked_until=START + seconds(60))})
    write(database, {(company, UPLOAD): Noted(throttled=1, blocked_until=START + seconds(5))})
    write(database, {(company, UPLOAD): Noted(taken=1)})

    assert paces(database)[company, UPLOAD].blocked_until == START + seconds(60)


def test_no_second_above_limit_with_many_at_it(database, vault):
    """Turns taken by many threads, for companies with and without a limit, never crowd."""
    companies = [str(add_company(database, vault)) for _ in range(4)]
    host = pace(HOST, 40)
    limits = [None, 5, None, 12]
    taken = {each: [] for each in companies}

    def work(number):
        random, scope = Random(number), companies[number % 4]
        ours = pace(scope, limits[number % 4])
        deadline = utc_now() + seconds(60)
        while len(taken[scope]) < ENOUGH and utc_now() < deadline:
            with database.transaction() as session:
                plan = reserve(session, host=host, company=ours, wanted=random.randint(1, 9), clock=utc_now)
            if isinstance(plan, Turns):
                taken[scope] += plan.at

    with database.transaction() as session:
        seat(session, [(scope, UPLOAD) for scope in (HOST, *companies)])
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))

    everything = sorted(at for turns in taken.values() for at in turns)
    assert closest(everything) >= 1.3 / 40 - 1e-6
    for scope, per_second in zip(companies, limits, strict=True):
        assert len(taken[scope]) >= ENOUGH
        if per_second:
            assert closest(sorted(taken[scope])) >= 1.3 / per_second - 1e-6


def closest(instants):
    return min((b - a).total_seconds() for a, b in pairwise(instants))


def test_noting_and_reserving_never_deadlock(database, vault):
    """Many processes that note and reserve rows in any order never wait for each other for ever."""
    companies = [str(add_company(database, vault)) for _ in range(5)]

    def work(number):
        random = Random(number)
        for _ in range(25):
            some = random.sample([HOST, *companies], 4)
            noted = {(scope, random.choice(list(Lane))): Noted(taken=1) for scope in some}
            write(database, noted, now=utc_now())
            take(database, pace(HOST, 500), pace(random.choice(companies), 900), now=utc_now())
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def test_unknown_limit_is_learned_from_refusals(database, company):
    for tenth in range(11):
        noted = {(company, UPLOAD): Noted(taken=2, throttled=18)}
        write(database, noted, now=START + seconds(tenth / 10))

    found = paces(database, now=START + seconds(1))

    assert found[company, UPLOAD].is_adaptive
    assert found[company, UPLOAD].limit == pytest.approx(18, abs=1)
    assert found[company, READ].limit is None


def test_limit_is_learned_from_a_burst_that_ends_in_a_pause(database, company):
    """An operator that asks for a pause with each refusal ends every window early, yet tells its limit by that."""
    until = START + seconds(1)
    write(database, {(company, UPLOAD): Noted(taken=8, throttled=4, blocked_until=until)})
    write(database, {(company, UPLOAD): Noted(taken=1)}, now=until + seconds(0.2))

    assert paces(database, now=until)[company, UPLOAD].limit == pytest.approx(7.2)


def test_nothing_is_learned_where_a_limit_is_set(database, company):
    limit(database, company, uploads=100.0)

    for tenth in range(11):
        write(database, {(company, UPLOAD): Noted(taken=2, throttled=18)}, now=START + seconds(tenth / 10))

    assert not paces(database)[company, UPLOAD].is_adaptive
    limit(database, company)
    assert paces(database)[company, UPLOAD].limit is None


def test_speed_tells_answers_per_second(database):
    for fifth in range(300):
        write(database, {(HOST, UPLOAD): Noted(taken=6, throttled=2)}, now=START + seconds(fifth / 5))

    assert paces(database, now=START + seconds(60))[HOST, UPLOAD].speed == pytest.approx(30, rel=0.05)
    assert paces(database, now=START + seconds(120))[HOST, UPLOAD].speed < 0.2


def test_missing_row_takes_no_turn(database, company):
    with database.transaction() as session:
        assert reserve(session, host=pace(HOST, 20), company=None, wanted=1, clock=lambda: START) is None
        assert not note(session, {(HOST, UPLOAD): Noted(taken=1)}, host=HOST, settings=PLAIN, now=START)
