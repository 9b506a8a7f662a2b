"""How months of keeping become shelves that lie behind, and which months contradict each other."""

from datetime import UTC, datetime

import pytest

from pipeline.domain.errors import ConfigurationError, InvalidInputError
from pipeline.domain.retention import Bounds, Keep, bounds_of
from pipeline.settings import settings_from

FEBRUARY = datetime(2027, 2, 28, 23, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    ("keep", "bounds"),
    [
        (Keep(), (0, 0, 0)),
        (Keep(delivered=1), (202701, 0, 202701)),
        (Keep(delivered=2, failed=14), (202612, 202512, 202612)),
        (Keep(documents=1), (0, 0, 202701)),
        (Keep(delivered=12, documents=3), (202602, 0, 202611)),
        (Keep(delivered=1200, failed=1200), (192702, 192702, 192702)),
        (Keep(delivered=12, failed=3), (202602, 202602, 202602)),
        (Keep(delivered=3, documents=12), (202611, 0, 202611)),
        (Keep(failed=3), (0, 0, 0)),
    ],
)
def test_whole_months_pass_before_anything_goes(keep, bounds):
    """What was set apart and contradicts itself keeps failures as long as successes, and no document past its record."""
    delivered, failed, documents = bounds

    assert bounds_of(keep, now=FEBRUARY) == Bounds(delivered=delivered, failed=failed, documents=documents)


@pytest.mark.parametrize(
    ("keep", "complaint"),
    [
        (Keep(delivered=12, documents=13), "documents are dropped before records"),
        (Keep(delivered=12, failed=11), "keep failures at least as long"),
        (Keep(failed=12), "successes for ever"),
        (Keep(delivered=0), "from 1 to 1200, not 0"),
        (Keep(documents=1201), "from 1 to 1200, not 1201"),
    ],
)
def test_months_that_contradict_each_other_are_refused(keep, complaint):
    with pytest.raises(InvalidInputError, match=complaint):
        keep.check()


@pytest.mark.parametrize("keep", [Keep(), Keep(delivered=12), Keep(documents=3), Keep(delivered=12, documents=12)])
def test_months_that_fit_are_accepted(keep):
    keep.check()


def test_a_companys_own_months_count_before_the_installations():
    own = Keep(delivered=24).within(Keep(delivered=12, failed=36))

    assert own == Keep(delivered=24, failed=36)


def test_settings_that_keep_documents_longer_than_records_are_refused():
    """One clear line names the settings and what is wrong with them."""
    with pytest.raises(
        ConfigurationError, match=r"^POSTILJON_KEEP_\.\.\._MONTHS: documents would be kept 12 months and"
    ):
        settings_from({"POSTILJON_KEEP_DELIVERED_MONTHS": "6", "POSTILJON_KEEP_DOCUMENTS_MONTHS": "12"})
