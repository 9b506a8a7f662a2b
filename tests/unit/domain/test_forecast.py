from datetime import UTC, datetime, timedelta

import pytest

from pipeline.domain.forecast import Backlog, Basis, HostPace, forecast, share_rate

NOW = datetime(2026, 11, 30, 2, 0, tzinfo=UTC)


def later(seconds):
    return NOW + timedelta(seconds=seconds)


def company(name="a", invoices=100, **values):
    return Backlog(company=name, invoices=invoices, **values)


def tell(*backlogs, **host):
    return forecast(backlogs, HostPace(**host), at=NOW)


@pytest.mark.parametrize(
    ("backlogs", "host", "seconds"),
    [
        ([company(invoices=100, rate=10)], {}, 10),
        ([company(invoices=100)], {"rate": 20}, 5),
        ([company(invoices=100, rate=10)], {"rate": 4}, 25),
        ([company("a", 100, rate=10), company("b", 40, rate=1)], {}, 40),
        ([company("a", 50), company("b", 100)], {"rate": 10}, 15),
        # a: 2/3 of 9 until it is done after 10 s, then b has all: 30 done, 60 left of 90, 60/9 s more.
        ([company("a", 60, weight=2), company("b", 90)], {"rate": 9}, 10 + 60 / 9),
        # What a's own limit leaves unused is b's.
        ([company("a", 100, rate=1), company("b", 90)], {"rate": 10}, 100),
        ([company(invoices=30)], {"speed": 3.0}, 10),
        ([company(invoices=100, rate=10, not_before=later(60))], {}, 70),
        ([company(invoices=100, rate=10)], {"not_before": later(5)}, 15),
        ([company(invoices=10, rate=10, last_due_at=later(3600))], {}, 3600),
    ],
    ids=[
        "own limit", "limit of the host", "the lower of two", "the slower company", "equal shares", "weights",
        "unused share", "measured speed", "company blocked", "host blocked", "last attempt far off",
    ],
)  # fmt: skip
def test_finish_is_when_the_last_is_done(backlogs, host, seconds):
    told = tell(*backlogs, **host)

    assert told.seconds == pytest.approx(seconds, rel=1e-3)
    assert told.finish_at == max(told.finish_of.values())


@pytest.mark.parametrize(
    ("host", "basis", "seconds"),
    [
        ({"rate": 10, "speed": 0.5}, Basis.LIMITS, 100),
        ({"rate": 10, "speed": 5}, Basis.SPEED, 200),
        ({"rate": 10, "speed": 5, "is_limit_used": True}, Basis.LIMITS, 100),
        ({"rate": 10, "speed": 50}, Basis.LIMITS, 100),
        ({"speed": 0.01}, Basis.NOTHING, None),
    ],
    ids=["just begun", "slower than the limit", "turns are waited for", "faster than the limit", "nothing known"],
)
def test_speed_counts_where_the_limit_is_not_reached(host, basis, seconds):
    told = tell(company(invoices=1000), **host)

    assert (told.basis, told.finish_at) == (basis, later(seconds) if seconds else None)


def test_held_companies_are_left_out():
    told = tell(company("a", 10, rate=1), company("b", 1000, rate=1, is_held=True))

    assert (told.backlog, told.left_out, told.seconds) == (10, 1000, 10)


def test_nothing_is_said_when_all_is_on_hold():
    assert tell(company(is_held=True, rate=1)).finish_at is None


def test_nothing_waiting_is_done_now():
    assert tell().seconds == 0


def test_slow_start_follows_the_canary():
    """Left alone until the canary, then 1, 2, 4 ... a second until the limit binds: 63 in 6 s, the rest at 100."""
    told = tell(company(invoices=1000), rate=100, not_before=later(300), is_left_alone=True)

    # 1 + 2 + 4 + ... + 64 = 127 in 7 s, then 873 at 100.
    assert told.starts_at == later(300)
    assert told.seconds == pytest.approx(300 + 7 + 8.73)


def test_slow_start_goes_on_where_it_stands():
    told = tell(company(invoices=1000), rate=100, closing_since=later(-2.5))

    # Half a second of 4, then 8 + 16 + 32 + 64 in 4 s, the rest at 100.
    assert told.seconds == pytest.approx(0.5 + 4 + (1000 - 2 - 120) / 100)


def test_nothing_is_said_beyond_a_year():
    assert tell(company(invoices=10**9), rate=1).finish_at is None


def test_shares_never_exceed_the_rate():
    rates = share_rate([company("a", rate=3), company("b", weight=2), company("c", weight=1)], 12)

    assert rates == {"a": 3, "b": 6, "c": 3}


def test_many_companies_are_reckoned_quickly():
    backlogs = [company(str(number), 100 + number, weight=1 + number % 3) for number in range(300)]

    told = tell(*backlogs, rate=50)

    assert told.seconds == pytest.approx(sum(each.invoices for each in backlogs) / 50)
