"""Looking at an invoice: its case is found from any invoice of the chain, and a long chain ends."""

from itertools import pairwise
from uuid import uuid4

import pytest

from pipeline.domain.errors import UnknownInvoiceError
from pipeline.storage.reading import LONGEST_CHAIN, read_story

from .rows import change, queue


def test_a_story_without_a_case_is_whole(database, company):
    (uuid,) = queue(database, company)

    with database.transaction() as session:
        story = read_story(session, uuid)

    assert (story.case, story.failures, story.ways_out, list(story.actions)) == (None, (), (), [])
    assert [link.invoice_id for link in story.chain] == [uuid]
    assert [event.kind for event in story.events] == ["submitted"]


def test_a_long_chain_is_cut_on_both_sides(database, company):
    uuids = queue(database, company, LONGEST_CHAIN * 2 + 5)
    for earlier, later in pairwise(uuids):
        change(database, "UPDATE invoice SET supersedes = :earlier WHERE id = :later", earlier=earlier, later=later)
    middle = LONGEST_CHAIN + 2

    with database.transaction() as session:
        story = read_story(session, uuids[middle])

    assert [link.invoice_id for link in story.chain] == uuids[middle - LONGEST_CHAIN : middle + LONGEST_CHAIN + 1]


def test_an_unknown_invoice_is_named(database):
    uuid = uuid4()

    with pytest.raises(UnknownInvoiceError, match=str(uuid)), database.transaction() as session:
        read_story(session, uuid)
