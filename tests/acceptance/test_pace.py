"""Real workers keep to the operator's limits, those they were told and those they find out."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from .installation import Installation
from .operator_side import COMPANY_A, COMPANY_B
from .papers import papers

LIMIT = 20
MANY = 150
UNKNOWN = 8
MANY_UNKNOWN = 100
FINDING_SECONDS = 5


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, clean_environment: None) -> Iterator[Installation]:
    """An installation of its own that was told the operator's limit."""
    whole = Installation(tmp_path_factory.mktemp("pace") / "state", POSTILJON_UPLOADS_PER_SECOND=str(LIMIT))
    with whole.running():
        yield whole


def arrivals(line: Installation) -> dict[str, int]:
    return line.operator.totals()["arrivals"]["operator"]["uploads"]


def test_told_limit_is_never_exceeded(line: Installation):
    """However many processes send for however many companies, no second at the operator is above the limit."""
    line.operator.knobs(limit_uploads_per_second=LIMIT, limit_scope="operator")

    sent = line.submit(papers(MANY // 2), company=COMPANY_A) + line.submit(papers(MANY // 2), company=COMPANY_B)

    line.wait_until_taken(sent, seconds=60)
    line.assert_once(sent)
    seen = arrivals(line)
    assert seen["arrived"] >= MANY
    assert seen["busiest_second"] <= LIMIT
    assert seen["throttled"] == 0
    assert all(count["throttled"] == 0 for count in line.events(sent).values())


def test_unknown_limit_is_found_out(line: Installation):
    """A company's limit that nobody told is found out by what is refused: soon hardly anything is, and all goes once."""
    line.operator.knobs(limit_uploads_per_second=UNKNOWN, limit_scope="company", limit_retry_after="1")
    before = arrivals(line)

    sent = line.submit(papers(MANY_UNKNOWN))

    line.wait_until_taken(sent, seconds=60)
    line.assert_once(sent)
    arrived = line.operator.totals()["arrivals"]
    refused = {datetime.fromisoformat(at): count for at, count in arrived["throttled_by_second"].items()}
    found_at = min(refused) + timedelta(seconds=FINDING_SECONDS)
    assert arrived["operator"]["uploads"]["throttled"] > before["throttled"], "the limit was never met"
    assert sum(count for at, count in refused.items() if at > found_at) <= MANY_UNKNOWN * 0.1
