"""Shares are bounded, used up, proportional in the long run, and nobody starves: for any companies that we can think of."""

from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.domain.fairness import Claimant, jain_index, share_out

WEIGHTS = st.floats(min_value=0.1, max_value=20)


def company(number):
    return UUID(int=number)


@st.composite
def companies(draw):
    return [
        Claimant(
            company_id=company(number),
            backlog=draw(st.integers(0, 50)),
            weight=draw(WEIGHTS),
            deficit=draw(st.floats(-1, 1)),
            in_flight=draw(st.integers(0, 50)),
            most=draw(st.none() | st.integers(-3, 30)),
        )
        for number in range(draw(st.integers(0, 12)))
    ]


def serve(weights, *, rooms, window=None):
    """Let companies that never run dry share rooms; return what each got in each round."""
    deficits = [0.0] * len(weights)
    history = []
    for room in rooms:
        given = share_out(
            [
                Claimant(company_id=company(number), backlog=room, weight=weight, deficit=deficits[number])
                for number, weight in enumerate(weights)
            ],
            room=room,
            window=window,
        )
        deficits = [given[company(number)].deficit for number in range(len(weights))]
        history.append([given[company(number)].invoices for number in range(len(weights))])
    return history


@given(companies(), st.integers(-5, 200), st.none() | st.integers(1, 100))
def test_nobody_gets_more_than_room_and_limit(claimants, room, window):
    """Whatever the companies, no share exceeds backlog, cap and allowance, and all together not the room."""
    shares = share_out(claimants, room=room, window=window)

    for each in claimants:
        bounds = [bound for bound in (each.backlog, each.most) if bound is not None]
        assert 0 <= shares[each.company_id].invoices <= max(min(bounds), 0)
    assert sum(share.invoices for share in shares.values()) <= max(room, 0)


@given(companies(), st.integers(0, 200), st.none() | st.integers(1, 100))
def test_room_is_used_while_anybody_may_have_more(claimants, room, window):
    """Room is left only when everybody has all that it may have."""
    shares = share_out(claimants, room=room, window=window)

    used = sum(share.invoices for share in shares.values())
    assert used == min(room, sum(each.limit for each in claimants))


@given(companies(), st.integers(0, 200))
def test_deficits_stay_below_one_invoice(claimants, room):
    """Nobody saves up credit for a burst, nobody goes deeper into debt than the one invoice that was lent."""
    assert all(-1 <= share.deficit <= 1 for share in share_out(claimants, room=room).values())


@settings(max_examples=30, deadline=None)
@given(st.lists(WEIGHTS, min_size=1, max_size=6), st.integers(1, 30), st.none() | st.just(0))
def test_long_run_shares_are_proportional_to_weights(weights, room, window):
    """After many rounds each company has what its weight entitles it to, to within two invoices."""
    rounds = 40

    history = serve(weights, rooms=[room] * rounds, window=room if window is not None else None)

    for number, weight in enumerate(weights):
        entitled = room * rounds * weight / sum(weights)
        assert sum(row[number] for row in history) == pytest.approx(entitled, abs=2.001)


@settings(max_examples=30, deadline=None)
@given(st.lists(WEIGHTS, min_size=1, max_size=6), st.lists(st.integers(0, 12), min_size=30, max_size=60))
def test_no_credit_is_lost_while_the_room_changes(weights, rooms):
    """However large and small rooms follow each other, each company gets what its weight entitles it to."""
    history = serve(weights, rooms=rooms)

    for number, weight in enumerate(weights):
        assert sum(row[number] for row in history) == pytest.approx(sum(rooms) * weight / sum(weights), abs=2.001)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(min_value=0.5, max_value=5), min_size=1, max_size=8), st.integers(1, 3))
def test_nobody_starves_in_rooms_smaller_than_the_companies(weights, room):
    """Each company is served at the latest when its weight entitles it to two invoices."""
    longest = [int(2 * sum(weights) / weight / room) + 2 for weight in weights]

    history = serve(weights, rooms=[room] * max(longest) * 2)

    for number, patience in enumerate(longest):
        served = [place for place, row in enumerate(history) if row[number]]
        gaps = [later - earlier for earlier, later in zip([-1, *served], [*served, len(history)], strict=True)]
        assert max(gaps) <= patience


def test_equal_companies_take_turns_in_a_room_of_one():
    history = serve([1.0, 1.0, 1.0], rooms=[1] * 9)

    assert [sum(row[number] for row in history) for number in range(3)] == [3, 3, 3]
    assert all(sorted(map(sum, zip(*history[start : start + 3], strict=True))) == [1, 1, 1] for start in (0, 3, 6))


def test_a_small_room_after_a_large_one_costs_nobody_its_credit():
    """Where a room does not even pay what is owed, those who get nothing of it keep what they are owed."""
    history = serve([1.0] * 10, rooms=[8, 1] * 20)

    assert [sum(row[number] for row in history) for number in range(10)] == pytest.approx([18] * 10, abs=1.001)


def test_weights_share_one_room_exactly():
    assert serve([1.0, 2.0, 4.0], rooms=[70]) == [[10, 20, 40]]


def test_what_a_capped_company_cannot_use_goes_to_the_others():
    shares = share_out(
        [
            Claimant(company_id=company(1), backlog=100, weight=9.0, most=3),
            Claimant(company_id=company(2), backlog=100),
            Claimant(company_id=company(3), backlog=100),
        ],
        room=23,
    )

    assert [shares[company(number)].invoices for number in (1, 2, 3)] == [3, 10, 10]


def test_an_empty_backlog_forgets_its_deficit():
    poor = Claimant(company_id=company(1), backlog=2, deficit=-0.7)
    rich = Claimant(company_id=company(2), backlog=2, deficit=0.7)

    shares = share_out([poor, rich], room=10)

    assert [share.deficit for share in shares.values()] == [0.0, 0.0]


def test_a_full_window_of_slow_uploads_leaves_the_room_to_others():
    """A company that fills the window with uploads that take long does not share what becomes free."""
    slow = Claimant(company_id=company(1), backlog=1000, in_flight=90)
    fresh = Claimant(company_id=company(2), backlog=1000, in_flight=0)

    shares = share_out([slow, fresh], room=10, window=100)

    assert (shares[slow.company_id].invoices, shares[fresh.company_id].invoices) == (0, 10)


def test_a_weight_of_nothing_is_served_all_the_same():
    shares = share_out([Claimant(company_id=company(1), backlog=5, weight=0.0)], room=5)

    assert shares[company(1)].invoices == 5


@pytest.mark.parametrize(
    ("shares", "index"),
    [([5, 5, 5, 5], 1.0), ([10, 0, 0, 0], 0.25), ([3, 1], 0.8), ([7], 1.0), ([], 1.0), ([0, 0], 1.0)],
    ids=["all-equal", "one-has-all", "three-to-one", "alone", "nobody", "nothing-shared"],
)
def test_jain_index_tells_how_equal_shares_are(shares, index):
    assert jain_index(shares) == pytest.approx(index)


@given(companies(), st.integers(0, 200), st.none() | st.integers(1, 100), st.integers(2, 40))
def test_chunks_keep_the_bounds_and_use_the_room(claimants, room, window, chunk):
    """Giving whole chunks changes who has what when, never how much in all."""
    shares = share_out(claimants, room=room, window=window, chunk=chunk)

    assert all(0 <= shares[each.company_id].invoices <= each.limit for each in claimants)
    assert sum(share.invoices for share in shares.values()) == min(room, sum(each.limit for each in claimants))
    assert all(abs(share.deficit) <= chunk for share in shares.values())


@given(st.integers(2, 30), st.integers(2, 50), st.integers(1, 400))
def test_freed_room_goes_out_in_whole_chunks(number, chunk, room):
    """However many companies wait, a round makes one piece at most that is smaller than a chunk."""
    claimants = [Claimant(company_id=company(each), backlog=1000) for each in range(number)]

    pieces = [share.invoices % chunk for share in share_out(claimants, room=room, chunk=chunk).values()]

    assert sum(piece > 0 for piece in pieces) <= 1


def test_who_waited_while_others_had_a_chunk_is_next():
    """Twenty companies in a room of two chunks: each has had one after ten rounds, and none two."""
    deficits, had = [0.0] * 20, [0] * 20
    for _ in range(10):
        claimants = [Claimant(company_id=company(each), backlog=1000, deficit=deficits[each]) for each in range(20)]
        given = share_out(claimants, room=200, window=800, chunk=100)
        deficits = [given[company(each)].deficit for each in range(20)]
        had = [before + given[company(each)].invoices for each, before in enumerate(had)]

    assert had == [100] * 20
