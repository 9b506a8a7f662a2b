"""The proof of chaos cannot be fooled: whatever is lost, doubled, altered, unfinished or unsaid fails it, by UUID."""

from collections import Counter
from uuid import UUID

import pytest

from pipeline.cli.chaos_producers import Told
from pipeline.cli.chaos_report import Proof, find
from pipeline.cli.chaos_strikes import Struck
from pipeline.domain.state import State
from pipeline.storage.settling import Kept, Standings

COMPANY, OTHER = (UUID(int=number) for number in (1, 2))
A, B, C = (UUID(int=number) for number in (10, 11, 12))


def told(uuid, **changes):
    return {uuid: Told(**{"company": COMPANY, "sha256": f"h{uuid.int}", "answered_sha256": f"h{uuid.int}", **changes})}


def books(states=None, *, supersedes=None, sha256=None, reroutes=None):
    return Standings(
        invoices={
            uuid: Kept(
                state=state,
                supersedes=(supersedes or {}).get(uuid),
                sha256=(sha256 or {}).get(uuid, f"h{uuid.int}"),
            )
            for uuid, state in (states or {A: State.DELIVERED, B: State.DELIVERED}).items()
        },
        done_reroutes=Counter(reroutes or {}),
        cases=Counter(),
    )


def entry(uuid, *, held=1, sha256=None, company=COMPANY, status="DELIVERED", reroutes=()):
    return {
        str(uuid): {
            "held": held,
            "held_sha256": (sha256 or f"h{uuid.int}") if held else None,
            "company_id": str(company),
            "status": status if held else None,
            "reroutes": list(reroutes),
        }
    }


BOTH = told(A) | told(B)
WELL = entry(A) | entry(B)


def test_everything_in_its_place_has_no_findings():
    assert find(BOTH, books(), WELL).uuids == ()


@pytest.mark.parametrize(
    ("given", "kept", "ledger"),
    [
        (BOTH, books({A: State.DELIVERED}), WELL),
        (BOTH, books(), entry(A)),
        (BOTH, books(), entry(A) | entry(B, held=0)),
        (BOTH, books(), entry(A) | entry(B, company=OTHER)),
        (BOTH, books({A: State.DELIVERED, B: State.FAILED}), entry(A)),
        (BOTH, books({A: State.DELIVERED, B: State.ACCEPTED}), entry(A)),
        (told(A) | told(B, answered_sha256=None), books(), entry(A)),
    ],
    ids=["not in database", "unknown", "gone", "with another company", "failed", "accepted", "kept though unanswered"],
)
def test_lost_invoice_is_named(given, kept, ledger):
    assert find(given, kept, ledger).lost == (str(B),)


@pytest.mark.parametrize("state", [State.REFUSED, State.HELD, State.CANCELLED], ids=lambda state: state.value)
def test_invoice_in_a_state_that_says_so_is_not_lost(state):
    assert find(BOTH, books({A: State.DELIVERED, B: state}), entry(A)).uuids == ()


def test_offer_that_was_never_answered_nor_stored_is_not_lost():
    assert find(told(A) | told(B, answered_sha256=None), books({A: State.DELIVERED}), entry(A)).uuids == ()


@pytest.mark.parametrize(
    ("kept", "ledger", "doubled"),
    [
        (books(), entry(A) | entry(B, held=3), {str(B): 2}),
        (books(), WELL | entry(C), {str(C): 1}),
        (books(), entry(A) | entry(B, sha256=f"h{A.int}"), {str(B): 1}),
        (books(), entry(A) | entry(B, reroutes=[{}, {}]), {str(B): 2}),
        (books(reroutes={B: 1}), entry(A) | entry(B, reroutes=[{}, {}]), {str(B): 1}),
    ],
    ids=["under its UUID", "of nothing we know", "same document twice", "rerouted unasked", "rerouted twice"],
)
def test_doubled_invoice_is_counted(kept, ledger, doubled):
    assert find(BOTH, kept, ledger).doubled == doubled


def test_two_successors_of_one_invoice_are_doubled():
    kept = books(
        {A: State.SUPERSEDED, B: State.DELIVERED, C: State.DELIVERED}, supersedes={B: A, C: A}, sha256={C: "other"}
    )
    ledger = entry(A, status="FAILED") | entry(B) | entry(C, sha256="other")

    assert find(told(A), kept, ledger).doubled == {str(A): 1}


def test_failed_invoice_sent_anew_is_not_doubled():
    kept = books({A: State.SUPERSEDED, B: State.DELIVERED}, supersedes={B: A}, sha256={B: f"h{A.int}"})
    ledger = entry(A, status="FAILED") | entry(B, sha256=f"h{A.int}")

    assert find(told(A), kept, ledger).uuids == ()


@pytest.mark.parametrize(
    ("given", "kept", "ledger"),
    [
        (BOTH, books(), entry(A) | entry(B, sha256="other")),
        (BOTH, books(sha256={B: "other"}), WELL),
        (told(A) | told(B, answered_sha256="other"), books(), WELL),
        (told(A), books(sha256={B: "other"}), WELL),
    ],
    ids=["with the operator", "in the database", "in the answer", "of a successor"],
)
def test_altered_invoice_is_named(given, kept, ledger):
    assert find(given, kept, ledger).altered == (str(B),)


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (State.DELIVERED, "FAILED"),
        (State.FAILED, "DELIVERED"),
        (State.REFUSED, "PENDING"),
        (State.CANCELLED, "PENDING"),
    ],
)
def test_state_the_operator_does_not_share_is_named(state, status):
    found = find(BOTH, books({A: State.DELIVERED, B: state}), entry(A) | entry(B, status=status))

    assert found.disagreeing == (str(B),)


def proof(**changes):
    values = {
        "offered": 2,
        "submitted": 2,
        "accepted": 2,
        "states": Counter({State.DELIVERED: 2}),
        "findings": find(BOTH, books(), WELL),
        "balanced": True,
        "unsettled": None,
        "p95_seconds": 1.234,
        "seconds": 9.0,
        "struck": Struck(kinds=Counter({"kill-child": 2}), mid_flight=Counter({"kill-child": 1, "kill-web": 0})),
        "faults": {"503": 4, "failed": 3},
        "tried_again": 0,
    }
    return Proof(**{**values, **changes})


def test_proof_of_what_went_well_is_well():
    answer = proof().as_json()

    assert answer["well"] is True
    assert (answer["lost"], answer["doubled"], answer["altered"], answer["p95_seconds"]) == (0, 0, 0, 1.23)
    assert answer["struck"] == {"kill-child": 2, "operator 503": 4, "operator failed": 3}


def test_only_what_struck_an_exchange_is_mid_flight():
    assert proof().as_json()["mid_flight"] == {"kill-child": 1, "operator 503": 4}


@pytest.mark.parametrize(
    "changes",
    [
        {"findings": find(BOTH, books(), entry(A))},
        {"findings": find(BOTH, books(), entry(A) | entry(B, held=2))},
        {"findings": find(BOTH, books(), entry(A) | entry(B, sha256="other"))},
        {"findings": find(BOTH, books(), entry(A) | entry(B, status="FAILED"))},
        {"unsettled": "the time was over"},
        {"states": Counter({State.DELIVERED: 1, State.IN_DOUBT: 1})},
        {"states": Counter({State.DELIVERED: 1})},
        {"states": Counter({State.DELIVERED: 3})},
        {"submitted": 1},
        {"offered": 0, "submitted": 0, "states": Counter()},
        {"balanced": False},
    ],
    ids=[
        *("lost", "doubled", "altered", "disagreeing", "unsettled", "open", "one vanished", "one too many"),
        *("not all submitted", "nothing offered", "unbalanced"),
    ],
)
def test_proof_fails_when_anything_is_wrong(changes):
    assert proof(**changes).is_well is False


def test_resent_invoice_leaves_a_proof_well():
    assert proof(states=Counter({State.DELIVERED: 2, State.SUPERSEDED: 1})).is_well is True
