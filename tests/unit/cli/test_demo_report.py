"""The demo's reckoning cannot be fooled: what is doubled, missing, altered or misplaced is counted and fails it."""

from uuid import UUID

import pytest

from pipeline.cli.demo_report import Verdicts, reckon
from pipeline.domain.state import State
from pipeline.services.submit_files import Verdict

COMPANY, OTHER = (UUID(int=number) for number in (1, 2))
A, B, STRAY = "aaaa", "bbbb", "cccc"


def entry(sha256="h1", held=1, company=COMPANY):
    return {"held": held, "held_sha256": sha256 if held else None, "company_id": str(company)}


def verdicts():
    return Verdicts(sha256={A: "h1", B: "h1"}, company_id={A: str(COMPANY), B: str(COMPANY)})


def reckoned(ledger, states=None):
    return reckon(
        verdicts=verdicts(),
        states=states or {A: State.DELIVERED, B: State.DELIVERED},
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

    result = reckon(
        verdicts=told,
        states={A: State.DELIVERED, B: State.DELIVERED},
        timeouts_survived=0,
        accepted=2,
        ledger={A: entry(), B: entry()},
        seconds=1.0,
    )

    assert result.is_well
    assert result.as_json()["files_refused"] == 1
