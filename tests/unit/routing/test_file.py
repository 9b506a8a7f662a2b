"""`routing.toml`: what it may say, and every mistake told by its line."""

from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.domain.errors import ConfigurationError
from pipeline.domain.routing import Routing, default_routing
from pipeline.domain.routing_file import parse_routing
from pipeline.domain.routing_rows import builtin_table, open_toml, read_rows
from pipeline.domain.routing_section import read_duration
from pipeline.domain.routing_verdicts import Failure
from pipeline.domain.way import Way

from .samples import COMPANY_ID, NAME, company

OTHER_ID = UUID("11111111-2222-4333-8444-555555555555")
WHOLE = """\
version = 1
loop = 4
undo_window = "0s"
per_minute = 30
canary_wait = "1h30m"

[pending]
default = "2h"
print = "5d"

[[rule]]
name = "wrong address to e-mail"
cause = ["recipient_address", "recipient_unreachable"]
channel = "einvoice"
total_below = 5000.50
way = "email"

[[verdict]]
name = "snow"
text = "snow on the line"
cause = "operator"
ways = []
words = "It snows."
advice = "Wait."

[company."Esimerkki Oy"]
automatic = ["email", "print"]
loop = 2
[company."Esimerkki Oy".pending]
email = "30m"
[[company."Esimerkki Oy".rule]]
name = "our own"
verdict = ["no-route", "ours", "snow"]
way = "print"
after = "48h"
[[company."Esimerkki Oy".verdict]]
name = "ours"
key = "action_error"
channel = ["print"]
cause = "content"
owner = "engineer"
ways = ["resend"]
words = "Ours."
advice = "Do it."
"""


def parse(text: str) -> Routing:
    return parse_routing(text, table=builtin_table())


def complaints(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as raised:
        parse(text)
    return str(raised.value).splitlines()


def test_whole_file_is_read():
    routing = parse(WHOLE)

    assert (routing.loop, routing.per_minute) == (4, 30)
    assert (routing.undo_window, routing.canary_wait) == (timedelta(0), timedelta(minutes=90))
    assert [rule.name for rule in routing.rules] == ["wrong address to e-mail"]
    assert routing.rules[0].channels == {"EINVOICE"}
    assert str(routing.rules[0].total_below) == "5000.50"


def test_company_stands_before_the_defaults():
    ours, theirs = (parse(WHOLE).for_company(COMPANY_ID, name) for name in (NAME, "Toinen Oy"))

    assert (ours.loop, theirs.loop) == (2, 4)
    assert (ours.automatic, theirs.automatic) == ({Way.EMAIL, Way.PRINT}, frozenset())
    assert [rule.name for rule in ours.rules] == ["our own", "wrong address to e-mail"]
    assert ours.rules[0].after == timedelta(hours=48)
    assert [row.name for row in ours.table.rows[:2]] == ["ours", "snow"]
    assert theirs.table.rows[0].name == "snow"


def test_own_rows_judge_before_the_built_in_ones():
    ours = parse(WHOLE).for_company(COMPANY_ID, NAME)

    assert ours.judge(Failure(refused=False, text="Snow on the line")).row == "snow"
    assert ours.judge(Failure(refused=False, key="action_error", channel="PRINT")).row == "ours"
    assert ours.judge(Failure(refused=False, key="action_error", channel="EMAIL")).row == "unknown"
    assert ours.judge(Failure(refused=False, text="No routing found")).row == "no-route"


@pytest.mark.parametrize(
    ("channel", "ours", "theirs", "nobodys"),
    [
        ("EMAIL", "30m", "2h", "1h"),
        ("email", "30m", "2h", "1h"),
        ("PRINT", "5d", "5d", "72h"),
        ("EINVOICE", "2h", "2h", "4h"),
        ("SCAN", "2h", "2h", "4h"),
        (None, "2h", "2h", "4h"),
    ],
)
def test_pending_limit_is_the_nearest_one(channel, ours, theirs, nobodys):
    routing, defaults = parse(WHOLE), default_routing(builtin_table())

    assert routing.for_company(COMPANY_ID, NAME).pending_after(channel) == read_duration(ours)
    assert routing.for_company(COMPANY_ID, "Toinen Oy").pending_after(channel) == read_duration(theirs)
    assert defaults.for_company(COMPANY_ID, NAME).pending_after(channel) == read_duration(nobodys)


def test_version_tells_which_table_judged():
    plain = company("")
    extended = parse_routing(WHOLE, source="/etc/x/routing.toml", table=builtin_table()).for_company(
        COMPANY_ID, "Toinen Oy"
    )

    assert plain.version == "1"
    assert extended.version == "1+routing.toml"


def test_company_by_uuid_wins_over_its_name():
    text = f'[company."{NAME}"]\nloop = 7\n[company."{str(COMPANY_ID).upper()}"]\nloop = 9\n'

    assert company(text).loop == 9
    assert company(text, name="Renamed Oy").loop == 9


def test_companies_nobody_knows_are_told():
    text = f'version = 1\n[company."{NAME}"]\n[company."Esimerki Oy"]\n[company.{COMPANY_ID}]\n'

    told = parse(text).strangers({COMPANY_ID: NAME, OTHER_ID: "Toinen Oy"})

    assert told == (
        "routing.toml:3: company 'Esimerki Oy' is not known here; nothing uses this part",
        f"routing.toml:4: company '{COMPANY_ID}' also stands there as 'Esimerkki Oy'; keep one of them",
    )


def test_defaults_hold_without_a_file():
    routing = default_routing(builtin_table())

    assert (routing.loop, routing.per_minute) == (3, 60)
    assert (routing.undo_window, routing.canary_wait) == (timedelta(minutes=10), timedelta(minutes=15))
    assert routing == parse("version = 1")


MISTAKES = [
    ("", "routing.toml:1: `version` is missing: write version = 1 on the first line"),
    ("version = 2", "routing.toml:1: `version` is a whole number from 1 to 1, not 2"),
    ("version = true", "routing.toml:1: `version` is a whole number from 1 to 1, not true"),
    ("version = 1\n\nlop = 3", "routing.toml:3: `lop` is no key here; did you mean `loop`?"),
    ("version = 1\nloop = 0", "routing.toml:2: `loop` is a whole number from 1 to 100, not 0"),
    ("version = 1\nper_minute = 'x'", "routing.toml:2: `per_minute` is a whole number from 1 to 6000, not 'x'"),
    ("version = 1\npending = 3", "routing.toml:2: `pending` is a table, not 3"),
    ("version = 1\n[pending]\n\nfax = '1h'", "routing.toml:4: pending: `fax` is no key here; there are default, einvoice, email, print"),
    ("version = 1\n[pending]\nprint = '0s'", "routing.toml:3: pending: `print` must be longer than nothing, not '0s'"),
    ("version = 1\nrule = [\n1]", "routing.toml:2: `rule` is written as [[rule]], once for each, not as a list"),
    ("version = 1\n[company]\nx = 1", "routing.toml:3: `x` is a table, not 1"),
    ("version = 1\n[company.x]\nautomatic = [\n'email',\n'close']", "routing.toml:5: company 'x': `automatic` is one or more of einvoice, email, print, resend, retry, not 'close'"),
    ("version = 1\n[company.x]\n[company.x.pending]\nemail = 1", "routing.toml:4: company 'x': pending: `email` is a duration such as \"90s\", \"10m\", \"48h\", \"1h30m\" or \"7d\", not 1"),
    (f"version = 1\n[company.{COMPANY_ID}]\n[company.{str(COMPANY_ID).upper()}]", f"routing.toml:3: company '{str(COMPANY_ID).upper()}': the same UUID stands on line 2"),
    ("version = 1\n'a\u2028b' = 1", "routing.toml:2: `a?b` is no key here; there are canary_wait, company, loop, pending, per_minute, rule, undo_window, verdict, version"),
    ("version = 1\nloop 3\n\n", "routing.toml:2: Expected '=' after a key in a key/value pair"),
    ("version = 1\nloop = ", "routing.toml:2: Invalid value (at end of document)"),
    ("version = 1\na = [1,\n\n2", "routing.toml:4: Unclosed array (at end of document)"),
    ("version = 1\nversion = 1", "routing.toml:2: Cannot overwrite a value (at end of document)"),
]  # fmt: skip
RULE_MISTAKES = [
    ("way = 'fax'", "14: rule 'to e-mail': `way` is one of einvoice, email, print, resend, retry, not 'fax'"),
    ("way = 'close'", "14: rule 'to e-mail': `way` is one of einvoice, email, print, resend, retry, not 'close'"),
    ("", "12: rule 'to e-mail': `way` is missing"),
    ("way = 'email'\ncause = 'unknown'", "15: rule 'to e-mail': `cause` is one or more of recipient_address, recipient_unreachable, content, company_settings, company, operator, not 'unknown'"),
    ("way = 'email'\ncause = []", "15: rule 'to e-mail': `cause` is an empty list, which fits nothing: name one or leave it out"),
    ("way = 'email'\nverdict = 'no-rout'", "15: rule 'to e-mail': `verdict` names 'no-rout', which is no verdict row; did you mean `no-route`?"),
    ("way = 'email'\nverdict = 'unknown'", "15: rule 'to e-mail': `verdict` cannot be 'unknown': what nobody knows goes to a person"),
    ("way = 'email'\nchannel = ['print', 3]", "15: rule 'to e-mail': `channel` is one or more of einvoice, email, print, not 3"),
    ("way = 'email'\ntotal_below = nan", "15: rule 'to e-mail': `total_below` is an amount such as 5000 or 99.50, not NaN"),
    ("way = 'email'\ntotal_below = true", "15: rule 'to e-mail': `total_below` is an amount such as 5000 or 99.50, not true"),
    ("way = 'email'\nafter = '2 days'", "15: rule 'to e-mail': `after` is a duration such as \"90s\", \"10m\", \"48h\", \"1h30m\" or \"7d\", not '2 days'"),
    ("way = 'email'\nchanel = 'print'", "15: rule 'to e-mail': `chanel` is no key here; did you mean `channel`?"),
    ("way = 'email'\n[[rule]]\nname = 'to e-mail'\nway = 'print'", "16: rule 'to e-mail': `name` is taken on line 13"),
    ("way = 'email'\n[[rule]]\nway = 'print'", "15: rule 2: `name` is missing"),
    ("way = 'email'\n[[rule]]\nname = ' '\nway = 'print'", "16: rule ' ': `name` is a text that is not empty, not ' '"),
]  # fmt: skip
ROW = "version = 1\n[[verdict]]\nname = 'x'\ncause = 'content'\nways = ['email']\nwords = 'w'\nadvice = 'a'\n"
ROW_MISTAKES = [
    ("", "2: verdict 'x': one of `text`, `key` and `code` is needed: a row without them would be a guess"),
    ("text = '('", "8: verdict 'x': `text` is no regular expression: missing ), unterminated subpattern at position 0"),
    ("text = '.*'", "8: verdict 'x': `text` fits any text, so it would be a guess about texts nobody has seen"),
    ("text = 'a'\nrefused = 'yes'", "9: verdict 'x': `refused` is true or false, not 'yes'"),
    ("text = 'a'\nowner = 'boss'", "9: verdict 'x': `owner` is one of accountant, engineer, not 'boss'"),
    ("code = [413]", "8: verdict 'x': `code` is a text or a list of texts, not 413"),
    ("text = 'a'\nchannel = 'fax'", "9: verdict 'x': `channel` is one or more of einvoice, email, print, not 'fax'"),
    ("text = 'a'\ntxt = 'a'", "9: verdict 'x': `txt` is no key here; did you mean `text`?"),
    ("text = 'a'\n[[verdict]]\nname = 'x'\ncause = 'content'\nways = []\nwords = 'w'\nadvice = 'a'\ntext = 'b'", "10: verdict 'x': `name` is taken on line 3"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "told"), MISTAKES, ids=[each[1][13:60] for each in MISTAKES])
def test_mistake_is_told_by_its_line(text, told):
    assert complaints(text) == [told]


@pytest.mark.parametrize(("lines", "told"), RULE_MISTAKES, ids=[each[0] for each in RULE_MISTAKES])
def test_mistake_in_a_rule_is_told_by_its_line(lines, told):
    before = "version = 1\nundo_window = '5m' # [[rule]]\n" + "\n" * 9

    assert complaints(f"{before}[[rule]]\nname = 'to e-mail'\n{lines}") == [f"routing.toml:{told}"]


@pytest.mark.parametrize(("lines", "told"), ROW_MISTAKES, ids=[each[0] for each in ROW_MISTAKES])
def test_mistake_in_a_verdict_row_is_told_by_its_line(lines, told):
    assert complaints(ROW + lines) == [f"routing.toml:{told}"]


def test_unknown_is_no_name_for_a_row():
    told = complaints(ROW.replace("'x'", "'unknown'") + "text = 'a'")

    assert told == [
        "routing.toml:3: verdict 'unknown': `name` is anything but 'unknown', which is for what no row knows"
    ]


def test_all_mistakes_are_told_at_once_in_order():
    text = WHOLE.replace("loop = 4", "lop = 4").replace('"5d"', "5").replace('"no-route"', '"no"')

    told = complaints(text)

    assert [line.split(":")[1] for line in told] == ["2", "9", "33"]


def test_row_of_another_company_is_no_verdict_here():
    told = complaints(WHOLE + "[company.y]\n[[company.y.rule]]\nname = 'r'\nway = 'email'\nverdict = 'ours'\n")

    assert told[0].startswith(
        "routing.toml:49: company 'y': rule 'r': `verdict` names 'ours', which is no verdict row;"
    )


def test_rule_may_name_a_row_that_has_a_mistake():
    told = complaints(f"{ROW}\n[[rule]]\nname = 'r'\nway = 'email'\nverdict = 'x'")

    assert [line.split(":")[1] for line in told] == ["2"]


def test_byte_order_mark_is_passed_over():
    assert parse("\ufeffversion = 1\r\nloop = 9\r\n").loop == 9


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 5000, "a = " + "9" * 5000, "a = 2026-13-45", "\x00"], ids=["deep", "long", "date", "nul"]
)
def test_hostile_text_is_a_mistake_on_a_line(text):
    assert complaints(text)[0].startswith("routing.toml:1: ")


@settings(deadline=None)
@given(st.text(st.sampled_from("ab=[]{}.,'\"\\#\n 1-") | st.characters()))
def test_any_text_is_read_or_refused_by_line(text):
    assert all(line.startswith("routing.toml:") for line in complaints(text))


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from(["loop", "undo_window", "per_minute", "pending", "rule", "verdict", "company"]), st.sampled_from(
        ["1", "-1", "'1h'", "[]", "{}", "[{}]", "{x = {}}", "{x = 1}", "[1, {}]", "nan", "1.5", "true", "2026-01-01", "[[]]"]
    )),
)  # fmt: skip
def test_any_value_in_any_place_is_read_or_refused(pairs):
    text = "version = 1\n" + "\n".join(f"{key} = {value}" for key, value in pairs.items())

    told = ["routing.toml: nothing"]
    try:
        parse(text)
    except ConfigurationError as exc:
        told = str(exc).splitlines()

    assert all(line.startswith("routing.toml:") for line in told)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0s", 0), ("90s", 90), ("10m", 600), ("1h30m", 5400), (" 2d1s ", 172801), ("3650d", 315360000)],
)
def test_duration_is_read(text, seconds):
    assert read_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "5", "h", "-1h", "1.5h", "30m1h", "1h 30m", "3651d", "9999999s", "\N{ARABIC-INDIC DIGIT ONE}h", "1H"]
)
def test_anything_else_is_no_duration(text):
    assert read_duration(text) is None


def test_mistake_in_the_shipped_table_would_be_told():
    top = open_toml(ROW, source="verdicts.toml")

    assert read_rows(top) == ()
    with pytest.raises(ConfigurationError, match=r"verdicts.toml:2: verdict 'x'"):
        top.problems.complain()
