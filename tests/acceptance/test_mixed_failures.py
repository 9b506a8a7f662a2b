"""The whole of following and routing in one run, judged by the operator's ledger: `demo --faults mixed-failures`."""

import json
from pathlib import Path

import pytest

from .test_command import demo

INVOICES = 250
SEED = 2
"""One with every cause among so few."""
NEWS = {
    "webhooks and polling": (),
    "polling alone": ("--no-webhooks",),
    "webhooks and the daily pass": ("--no-polling",),
}


@pytest.mark.parametrize("news", NEWS.values(), ids=NEWS.keys())
def test_mixed_failures_end_as_the_ledger_says(tmp_path: Path, news: tuple[str, ...]):
    """However news arrives, disturbed or late, every invoice ends in the operator's state and nothing is done twice."""
    done = demo(tmp_path, "--faults", "mixed-failures", "--invoices", INVOICES, "--seed", SEED, "--json", *news)

    assert done.returncode == 0, done.stderr + done.stdout
    answer = json.loads(done.stdout)
    assert answer["submitted"] == INVOICES
    assert answer["open"] == answer["held"] == 0
    assert answer["state_mismatches"] == answer["reroutes_doubled"] == answer["resends_doubled"] == 0
    assert answer["balanced"] is True
    assert answer["operator"]["doubled"] == answer["operator"]["missing"] == answer["operator"]["altered"] == 0
    assert answer["cases"]["accountant"] > 0
    assert answer["cases"]["engineer"] > 0
    assert answer["rerouted"] > 0
    assert answer["resent"] > 0
