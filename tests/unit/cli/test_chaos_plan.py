"""A plan of chaos: the same seed makes the same strikes, and a wrong file is refused with the line and what to write."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from pipeline.cli.chaos_file import SHIPPED, load_plan, parse_plan
from pipeline.cli.chaos_plan import KINDS
from pipeline.domain.errors import ConfigurationError
from pipeline.services.points import Point
from simulator.faults import Fault
from simulator.scripts import load as load_script

DOCUMENTATION = Path(__file__).parents[3] / "docs" / "chaos.md"

PLAN = """\
version = 1
faults = "calm"
round_seconds = 20

[knobs]
hold_duplicates = true
list_lag_seconds = 2.5

[settings]
POSTILJON_CHUNK_INVOICES = 5

[[strike]]
kind = "kill-child"
times = 4

[[strike]]
kind = "pause-valkey"
every_seconds = 6
seconds = 2
"""


def parsed(text: str, folder: Path = Path("plans")):
    return parse_plan(text, path=folder / "mine.toml")


def test_same_seed_makes_same_strikes():
    assert parsed(PLAN).strikes(7, 1) == parsed(PLAN).strikes(7, 1)


@pytest.mark.parametrize(("seed", "round_number"), [(8, 1), (7, 2)], ids=["other seed", "other round"])
def test_other_seed_or_round_makes_other_strikes(seed, round_number):
    assert parsed(PLAN).strikes(7, 1) != parsed(PLAN).strikes(seed, round_number)


@pytest.mark.parametrize("seed", range(20))
def test_strikes_fall_in_order_within_the_round(seed):
    strikes = parsed(PLAN).strikes(seed, 1)

    moments = [strike.at_seconds for strike in strikes]
    assert moments == sorted(moments)
    assert all(0 <= moment <= 20 for moment in moments)
    assert sum(strike.kind == "kill-child" for strike in strikes) == 4
    assert sum(strike.kind == "pause-valkey" for strike in strikes) in (3, 4)
    assert {strike.target for strike in strikes if strike.kind == "kill-child"} <= {"send", "pump", "follow"}
    assert {strike.seconds for strike in strikes if strike.kind == "pause-valkey"} == {2.0}


def test_regular_strikes_come_at_their_interval():
    moments = [strike.at_seconds for strike in parsed(PLAN).strikes(3, 1) if strike.kind == "pause-valkey"]

    assert [later - earlier for earlier, later in pairwise(moments)] == pytest.approx([6.0] * (len(moments) - 1))


def test_knobs_and_settings_become_words():
    plan = parsed(PLAN)

    assert plan.knobs == {"hold_duplicates": "true", "list_lag_seconds": "2.5"}
    assert plan.settings == {"POSTILJON_CHUNK_INVOICES": "5"}


def test_fault_script_is_found_beside_the_plan(tmp_path: Path):
    (tmp_path / "bad-day.toml").write_text("rules = []\n")

    assert parsed('version = 1\nfaults = "bad-day.toml"\n', tmp_path).faults == str(tmp_path / "bad-day.toml")


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_plan_is_sound(name):
    plan = load_plan(name)

    assert plan.about
    assert plan.strikes(1, 1)


def test_storm_has_every_kind_of_strike():
    assert {rule.kind for rule in load_plan("storm").rules} == set(KINDS)


def test_storm_has_every_fault_of_the_operator():
    script = load_script(load_plan("storm").faults, 1)

    assert {rule.fault for rule in script.rules} == set(Fault)


def test_plan_of_the_documentation_is_sound(tmp_path: Path):
    shown = re.findall(r"```toml\n(.*?)```", DOCUMENTATION.read_text(encoding="utf-8"), re.DOTALL)

    assert [len(parsed(each, tmp_path).strikes(1, 1)) > 1 for each in shown] == [True]


def test_every_kind_and_point_is_explained():
    words = DOCUMENTATION.read_text(encoding="utf-8")

    assert [name for name in (*KINDS, *Point) if name not in words] == []


def test_kill_at_a_point_is_counted_by_its_point():
    strikes = parsed(STRIKE + "kind = 'kill-at'\nof = ['after-claim']\ntimes = 2\n").strikes(1, 1)

    assert [strike.name for strike in strikes] == ["kill at after-claim"] * 2


def test_clock_jumps_by_what_the_plan_says():
    strikes = parsed(STRIKE + "kind = 'jump-clock'\nby_seconds = [-10, 20]\ntimes = 40\n").strikes(1, 1)

    assert {strike.by_seconds for strike in strikes} == {-10.0, 20.0}


def test_limits_are_of_companies_by_number():
    plan = parsed("version = 1\n[company.2]\nweight = 3\ncap = 7\n[company.3]\nuploads_per_second = 0.5\n")

    assert plan.limits == {2: {"weight": 3.0, "cap": 7}, 3: {"uploads_per_second": 0.5}}


STRIKE = "version = 1\n\n[[strike]]\n"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("faults = 'calm'\n", 1, "version = 1"),
        ("version = 2\n", 1, "version = 1"),
        ("version = 1\nfault = 'calm'\n", 2, "unknown key 'fault'"),
        ("version = 1\nround_seconds = 0\n", 2, "`round_seconds` is a number from 1"),
        ("version = 1\nround_seconds = inf\n", 2, "`round_seconds` is a number from 1"),
        ("version = 1\nsubmit_seconds = true\n", 2, "`submit_seconds` is a number"),
        ("version = 1\nrounds = 0\n", 2, "`rounds` is a whole number from 1"),
        ("version = 1\nrest_seconds = -1\n", 2, "`rest_seconds` is a number from 0"),
        ("version = 1\nabout = 3\n", 2, "`about` is text"),
        ("version = 1\nknobs = 3\n", 2, "[knobs]"),
        ("version = 1\n[knobs]\nlist_lag_seconds = []\n", 3, "one value"),
        ("version = 1\n[settings]\nPATH = 'x'\n", 3, "POSTILJON_"),
        ("version = 1\nstrike = 4\n", 2, "[[strike]]"),
        (STRIKE + "times = 1\n", 3, "`kind` is one of kill-child"),
        (STRIKE + "kind = 'kill-cat'\ntimes = 1\n", 4, "'kill-cat'"),
        (STRIKE + "kind = 'kill-beat'\n", 3, "either `times` or `every_seconds`"),
        (STRIKE + "kind = 'kill-beat'\ntimes = 1\nevery_seconds = 3\n", 3, "either `times` or `every_seconds`"),
        (STRIKE + "kind = 'kill-beat'\ntimes = 0\n", 5, "whole number from 1"),
        (STRIKE + "kind = 'kill-beat'\ntimes = 1.5\n", 5, "whole number from 1"),
        (STRIKE + "kind = 'kill-beat'\nevery_seconds = 0\n", 5, "`every_seconds` is a number from 0.1"),
        (STRIKE + "kind = 'kill-beat'\ntimes = 1\nof = ['send']\n", 6, "a list out of beat, beat-2"),
        (STRIKE + "kind = 'kill-child'\ntimes = 1\nof = 'send'\n", 6, "a list out of send, pump, follow"),
        (STRIKE + "kind = 'kill-child'\ntimes = 1\nof = []\n", 6, "a list out of send, pump, follow"),
        (STRIKE + "kind = 'flush-valkey'\ntimes = 1\nof = ['send']\n", 6, "not for it"),
        (STRIKE + "kind = 'flush-valkey'\ntimes = 1\nseconds = 3\n", 6, "lasts no `seconds`"),
        (STRIKE + "kind = 'pause-valkey'\ntimes = 1\nseconds = -1\n", 6, "`seconds` is a number from 0"),
        (STRIKE + "kind = 'kill-beat'\ntime = 1\n", 5, "unknown key 'time'"),
        (STRIKE + "kind = 'kill-at'\ntimes = 1\nof = ['somewhere']\n", 6, "a list out of before-claim, after-claim"),
        (STRIKE + "kind = 'kill-beat'\ntimes = 1\nby_seconds = [3]\n", 6, "for jump-clock alone"),
        (STRIKE + "kind = 'jump-clock'\ntimes = 1\nby_seconds = 3\n", 6, "a list of seconds"),
        (STRIKE + "kind = 'jump-clock'\ntimes = 1\nby_seconds = ['3']\n", 6, "numbers of seconds"),
        ("version = 1\ncompany = 3\n", 2, "[company.NUMBER]"),
        ("version = 1\n[company.0]\nweight = 2\n", 2, "numbers from 1"),
        ("version = 1\n[company.1]\nwait = 2\n", 3, "unknown key 'wait'"),
        ("version = 1\n[company.1]\ncap = 0.5\n", 3, "whole number from 1"),
        ("version = 1\nfaults = \n", 2, "line 2"),
    ],
)
def test_wrong_plan_is_refused_with_its_line(text, line, words):
    with pytest.raises(ConfigurationError) as refused:
        parsed(text)

    assert "mine.toml" in str(refused.value)
    assert f"line {line}" in str(refused.value)
    assert words in str(refused.value)


def test_unknown_plan_names_those_there_are():
    with pytest.raises(ConfigurationError, match=r"no plan 'tempest'.*everyday, storm"):
        load_plan("tempest")


def test_plan_that_is_no_text_is_refused(tmp_path: Path):
    path = tmp_path / "plan.toml"
    path.write_bytes(b"\xff\xfe")

    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_plan(str(path))
