"""The demo's reckoning cannot be fooled: what is doubled, missing, altered or misplaced is counted and fails it."""

from collections import Counter
from uuid import UUID

import pytest

from pipeline.cli.demo_report import Verdicts, reckon
from pipeline.domain.state import State
from pipeline.services.submit_files import Verdict
from pipeline.storage.settling import Kept, Standings

COMPANY, OTHER = (UUID(int=number) for number in (1, 2))
A, B, C, STRAY = (str(UUID(int=number)) for number in (10, 11, 12, 13))


def entry(sha256="h1", held=1, company=COMPANY, status="DELIVERED", reroutes=()):
    return {
        "held": held,
        "held_sha256": sha256 if held else None,
        "company_id": str(company),
        "status": status if held else None,
        "reroutes": list(reroutes),
    }


def standings(states, *, supersedes=None, reroutes=None, cases=None):
    lineage = {UUID(new): UUID(old) for new, old in (supersedes or {}).items()}
    return Standings(
        invoices={
            UUID(uuid): Kept(state=state, supersedes=lineage.get(UUID(uuid)), sha256="h1")
            for uuid, state in states.items()
        },
        done_reroutes=Counter({UUID(uuid): count for uuid, count in (reroutes or {}).items()}),
        cases=Counter(cases or {}),
    )


def verdicts():
    return Verdicts(sha256={A: "h1", B: "h1"}, company_id={A: str(COMPANY), B: str(COMPANY)})


def reckoned(ledger, states=None, *, told=None, balanced=True, **kept):
    return reckon(
        verdicts=told or verdicts(),
        standings=standings(states or {A: State.DELIVERED, B: State.DELIVERED}, **kept),
        balanced=balanced,
        timeouts_survived=0,
        accepted=2,
        ledger=ledger,
        seconds=1.0,
    )


def test_everything_in_its_place_is_well():
    result = reckoned({A: entry(), B: entry()})

    assert result.is_well
    assert result.as_json()["operator"] == {"held": 2, "doubled": 0, "missing": 0, "altered": 0}


@pytest.mark.parametrize(
    ("ledger", "doubled", "missing", "altered"),
    [
        ({A: entry(held=2), B: entry()}, 1, 0, 0),
        ({A: entry(held=2), B: entry(held=0)}, 1, 1, 0),
        ({A: entry(), B: entry(), STRAY: entry()}, 1, 0, 0),
        ({A: entry(), B: entry(), STRAY: entry("other")}, 1, 0, 0),
        ({A: entry()}, 0, 1, 0),
        ({A: entry(), B: entry("other")}, 0, 0, 1),
        ({A: entry(), B: entry("other", held=2)}, 1, 0, 1),
        ({A: entry(), B: entry(company=OTHER)}, 0, 1, 0),
    ],
    ids=[
        *("doubled", "one doubled, one missing", "stray copy", "stray other", "missing", "altered"),
        *("doubled and altered", "sent for another company"),
    ],
)
def test_what_is_wrong_is_counted(ledger, doubled, missing, altered):
    result = reckoned(ledger)

    assert (result.doubled, result.missing, result.altered) == (doubled, missing, altered)
    assert not result.is_well


def test_a_refused_invoice_is_accounted_for():
    """Refused with us and absent there agree; refused with us and held there do not."""
    states = {A: State.DELIVERED, B: State.REFUSED}

    assert reckoned({A: entry()}, states).is_well
    assert not reckoned({A: entry(), B: entry()}, states).is_well
    assert not reckoned({B: entry()}, states).is_well


def test_an_open_invoice_is_not_well():
    assert not reckoned({A: entry(), B: entry()}, {A: State.DELIVERED, B: State.IN_DOUBT}).is_well


def test_a_refused_file_was_no_invoice():
    """Exit status 0 is about submitted invoices; a broken file beside them is shown and counted."""
    told = verdicts()
    told.counts[Verdict.REFUSED] = 1

    result = reckoned({A: entry(), B: entry()}, told=told)

    assert result.is_well
    assert result.as_json()["files_refused"] == 1


def test_a_state_the_operator_does_not_confirm_is_a_mismatch():
    result = reckoned({A: entry(), B: entry(status="FAILED")})

    assert result.routed.state_mismatches == (B,)
    assert not result.is_well


def test_a_reroute_beyond_those_meant_is_counted():
    """What the operator carried out twice is not hidden by what we believe."""
    once, twice = [{"channel": "EMAIL"}], [{"channel": "EMAIL"}] * 2

    assert reckoned({A: entry(reroutes=once), B: entry()}, reroutes={A: 1}).is_well
    assert reckoned({A: entry(reroutes=twice), B: entry()}, reroutes={A: 1}).routed.reroutes_doubled == 1
    assert reckoned({A: entry(), B: entry(reroutes=once)}, reroutes={A: 1}).routed.reroutes_doubled == 1


def test_what_was_sent_anew_takes_the_place_of_the_old_one():
    states = {A: State.DELIVERED, B: State.SUPERSEDED, C: State.DELIVERED}
    ledger = {A: entry(), B: entry(status="FAILED"), C: entry()}

    result = reckoned(ledger, states, supersedes={C: B})

    assert result.is_well
    assert (result.routed.resent, result.routed.superseded, result.doubled, result.missing) == (1, 1, 0, 0)


def test_two_successors_of_one_invoice_are_counted():
    states = {A: State.DELIVERED, B: State.SUPERSEDED, C: State.DELIVERED, STRAY: State.DELIVERED}
    ledger = {A: entry(), B: entry(status="FAILED"), C: entry(), STRAY: entry()}

    result = reckoned(ledger, states, supersedes={C: B, STRAY: B})

    assert result.routed.resends_doubled == 1
    assert not result.is_well


def test_a_batch_that_does_not_add_up_is_not_well():
    assert not reckoned({A: entry(), B: entry()}, balanced=False).is_well


def test_cases_are_counted_by_owner():
    cases = {("accountant", "open"): 2, ("accountant", "resolved"): 1, ("engineer", "open"): 1}

    told = reckoned({A: entry(), B: entry()}, cases=cases).as_json()

    assert told["cases"] == {"accountant": 3, "engineer": 1}
    assert told["open_cases"] == {"accountant": 2, "engineer": 1}
