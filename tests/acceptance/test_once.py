"""Once: whatever the first upload of every invoice meets, the operator ends with exactly one, its bytes untouched."""

import json
import os
import subprocess
from hashlib import sha256
from typing import Any

import pytest

from pipeline.cli.stack import POSTILJON

from .installation import Installation
from .operator_side import COMPANY_A, Sent
from .papers import corpus_files, papers, zips_of

FAULTS = ("accept-then-silence", "reset-after-accept", "lying-500")
"""Each strikes every first upload after the operator has made the invoice."""
DUPLICATE_ANSWERS = (422, 409, 400, 201)
MANY = 500
SOME = 60
LAG_SECONDS = 4.0
"""New invoices stay unseen for so long: no longer than the settings let an absence settle."""


@pytest.mark.parametrize("fault", FAULTS)
def test_many_end_once_when_every_first_upload_fails(line: Installation, fault: str):
    """With the fault on every first upload, 500 invoices end with exactly one each, and every one shows a probe."""
    line.operator.faults(fault)

    sent = line.submit(papers(MANY))

    line.wait_until_taken(sent, seconds=90)
    ledger = line.assert_once(sent)
    assert {one.uuid for one in sent if fault not in ledger[one.uuid]["faults"]} == set()
    assert {uuid for uuid, events in line.events(sent).items() if not events["probe_begun"]} == set()
    assert {ledger[one.uuid]["uploads"] for one in sent} == {1}, "a probe that finds the invoice saves the upload"


@pytest.mark.parametrize("answer", DUPLICATE_ANSWERS)
@pytest.mark.parametrize("fault", FAULTS)
def test_second_upload_changes_nothing(line: Installation, fault: str, answer: int):
    """Where a probe cannot see the invoice yet, the second upload carries the same UUID, whatever it is answered."""
    line.operator.knobs(duplicate_status=answer, list_lag_seconds=LAG_SECONDS, show_lag_seconds=LAG_SECONDS)
    line.operator.faults(fault)

    sent = line.submit(papers(SOME))

    line.wait_until_taken(sent, seconds=60)
    _assert_met_the_duplicate_answer(line, sent, answer)


@pytest.mark.parametrize("answer", DUPLICATE_ANSWERS)
def test_many_second_uploads_change_nothing(line: Installation, answer: int):
    """500 second uploads after three kinds of failure, with probes that see nothing at first, double nothing."""
    line.operator.knobs(duplicate_status=answer, list_lag_seconds=LAG_SECONDS, show_lag_seconds=LAG_SECONDS)
    line.operator.faults([{**rule, "attempt": "first"} for rule in _one_third_each()])

    sent = line.submit(papers(MANY))

    line.wait_until_taken(sent, seconds=180)
    _assert_asked_before_sent_again(line, sent)


def test_probe_without_an_answer_is_asked_again(line: Installation):
    """While the operator's list and its single answers are silent, nothing is sent a second time."""
    silent = [{"fault": "silence", "on": "list", "attempt": number} for number in (1, 2)]
    broken = [{"fault": "500", "on": "show", "attempt": "first"}]
    line.operator.knobs(duplicate_status=201)
    line.operator.faults([{"fault": "accept-then-silence", "attempt": "first"}, *silent, *broken])

    sent = line.submit(papers(SOME))

    line.wait_until_taken(sent, seconds=60)
    ledger = line.assert_once(sent)
    assert {ledger[one.uuid]["uploads"] for one in sent} == {1}


def test_storm_is_survived(line: Installation):
    """Every misfortune at once, uploads, lists and tokens, still ends with one of each."""
    line.operator.faults("storm")

    sent = line.submit(papers(MANY // 2))

    line.wait_until_taken(sent, seconds=120)
    line.assert_once(sent)


def test_published_invoices_and_zips_arrive_as_they_are(line: Installation, tmp_path):
    """The 40 published invoices and ZIPs of them, sent twice by command under a fault, are held once each, untouched."""
    line.operator.faults("reset-after-accept")
    files = corpus_files()
    zips = list(zips_of(files, tmp_path / "zips"))
    command = ["send", str(files[0].parent), str(tmp_path / "zips"), "--company", COMPANY_A, "--json"]

    first = _postiljon(line, *command)
    second = _postiljon(line, *command)

    by_file = {each["path"]: each["uuid"] for each in first["files"] if each["verdict"] == "queued"}
    assert len(by_file) == len(files) + len(zips)
    assert {each["path"]: each["uuid"] for each in second["files"] if each["verdict"] == "known"} == by_file
    sent = [Sent(uuid=by_file[str(path)], sha256=sha256(path.read_bytes()).hexdigest()) for path in (*files, *zips)]
    line.wait_until_taken(sent, seconds=60)
    line.assert_once(sent)


def _assert_met_the_duplicate_answer(line: Installation, sent: list[Sent], answer: int) -> None:
    _assert_asked_before_sent_again(line, sent)
    expected = ("upload", "accepted" if answer == 201 else "refused", answer)
    attempts = line.attempts(sent)
    met = [uuid for uuid, made in attempts.items() if expected in made[1:]]
    # A slow machine asks some of them only when they can be seen already: that is no fault of theirs.
    assert len(met) > len(sent) / 2, f"only {len(met)} of {len(sent)} met the answer {answer}: nothing was tried"


def _assert_asked_before_sent_again(line: Installation, sent: list[Sent]) -> None:
    line.assert_once(sent)
    unasked = {uuid: made for uuid, made in line.attempts(sent).items() if made[1][0] != "probe"}
    assert not unasked, f"sent again without a probe: {unasked}"


def _one_third_each() -> list[dict[str, Any]]:
    return [
        {"fault": "accept-then-silence", "probability": 1 / 3},
        {"fault": "reset-after-accept", "probability": 1 / 2},
        {"fault": "lying-500"},
    ]


def _postiljon(line: Installation, *arguments: str) -> dict[str, Any]:
    environment = {**os.environ, **line.stack.environment}
    done = subprocess.run(
        [*POSTILJON, *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
