"""The operator holds an invoice under our UUID before our first upload: the same is adopted, another one held."""

from uuid import UUID

import pytest

from pipeline.storage.reading import read_story

from .installation import Installation
from .operator_side import COMPANY_A, Sent
from .papers import Paper, papers

LATER_SECONDS = 2.0
"""Time enough to get an invoice into the operator's books before ours is sent."""


@pytest.fixture
def paper() -> Paper:
    """A document that can be read as text."""
    return next(each for each in papers(20) if each.filename.endswith("ubl.xml"))


def test_same_invoice_met_is_adopted(line: Installation, paper: Paper):
    """What somebody else put there under our UUID, with the same number, total and parties, is ours: noted, no hold."""
    sent = meet(line, paper)

    line.wait_until_taken(sent, seconds=20)

    assert "adopted" in causes(line, sent[0])
    assert line.operator.ledger()[sent[0].uuid]["held"] == 1


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"number": "OTHER-1"}, "OTHER-1"),
        ({"sum_tax": "98765.43"}, "98765.43"),
        ({"recipient": {"name": "Somebody Else Oy"}}, "Somebody Else Oy"),
        ({"sender": {"name": "Another Seller Ab"}}, "Another Seller Ab"),
    ],
    ids=["number", "total", "buyer", "seller"],
)
def test_other_invoice_met_is_held(line: Installation, paper: Paper, fields: dict, told: str):
    """A difference in number, total or parties holds ours for a person, who is shown both sides; nothing is sent."""
    sent = meet(line, paper, **fields)

    line.wait_for_state(sent, "held", seconds=20)

    reason = line.reason(sent[0].uuid)
    assert told in reason
    assert "ours" in reason
    assert "theirs" in reason


def meet(line: Installation, paper: Paper, **fields: object) -> list[Sent]:
    """Submit a document whose UUID the operator knows before it is sent."""
    sent = line.submit([paper], wait_seconds=LATER_SECONDS)
    line.operator.enter(sent[0].uuid, COMPANY_A, document=paper.content.decode(), **fields)
    return sent


def causes(line: Installation, sent: Sent) -> str:
    """What the story of an invoice tells, in one text."""
    with line.database.transaction() as session:
        return "\n".join(event.cause for event in read_story(session, UUID(sent.uuid)).events)
