"""The line of every key, whatever the text around it looks like."""

import json
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.domain.routing_lines import find_lines

TRAPS = '''# [[rule]] in a comment
version = 1
words = """
[[rule]]
way = "fax" \\""" still inside
""""
literal = \'\'\'
[company.x]
loop = 9\'\'\'
quote = "]] # no comment, [ no array, \\" }"

[pending]  # a = 1
default = "4h"
"e mail".'sub.key' = 1

[[rule]]
name = "a"
cause = [   # a comment with ] in it
  "content", "]",

  "company" ,
]
way.one = {a = 1, "b c" = [1, 2], d.e = {}}
at = 2026-03-01 12:00:00Z

[[ rule ]]
name = "b"

[[rule.part]]
x = 1
[[rule.part]]
y = 1
[company . "Esimerkki \\u00d6y".pending]
email = "1h"
[[company.'Esimerkki Öy'.rule]]
z = 1
[company."Esimerkki Öy".rule.below]
q = 1
[company]
last = -inf'''

LINES = {
    ("version",): 2,
    ("words",): 3,
    ("literal",): 7,
    ("quote",): 10,
    ("pending",): 12,
    ("pending", "default"): 13,
    ("pending", "e mail", "sub.key"): 14,
    ("rule",): 16,
    ("rule", 0): 16,
    ("rule", 0, "name"): 17,
    ("rule", 0, "cause"): 18,
    ("rule", 0, "cause", 0): 19,
    ("rule", 0, "cause", 1): 19,
    ("rule", 0, "cause", 2): 21,
    ("rule", 0, "way", "one", "b c", 1): 23,
    ("rule", 0, "way", "one", "d", "e"): 23,
    ("rule", 0, "at"): 24,
    ("rule", 1): 26,
    ("rule", 1, "name"): 27,
    ("rule", 1, "part", 0, "x"): 30,
    ("rule", 1, "part", 1): 31,
    ("rule", 1, "part", 1, "y"): 32,
    ("company", "Esimerkki Öy"): 33,
    ("company", "Esimerkki Öy", "pending", "email"): 34,
    ("company", "Esimerkki Öy", "rule", 0, "z"): 36,
    ("company", "Esimerkki Öy", "rule", 0, "below"): 37,
    ("company", "Esimerkki Öy", "rule", 0, "below", "q"): 38,
    ("company", "last"): 40,
}


def paths(value, path=()):
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from paths(child, (*path, key))


@pytest.mark.parametrize(("path", "line"), LINES.items(), ids=[".".join(map(str, path)) for path in LINES])
def test_each_key_has_its_line(path, line):
    assert find_lines(TRAPS)[path] == line


def test_every_key_is_found_and_no_other():
    assert set(find_lines(TRAPS)) | {()} == set(paths(tomllib.loads(TRAPS)))


def test_line_ends_of_windows_count_once():
    assert find_lines(TRAPS.replace("\n", "\r\n")) == find_lines(TRAPS)


def basic(text):
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


KEY = st.text(st.characters(codec="utf-8"), max_size=5).map(basic) | st.from_regex(
    r"[A-Za-z0-9_-]{1,4}", fullmatch=True
)
STRING = st.text(st.sampled_from("a\n]}[{#=,.'\"\\ "), max_size=12).map(basic)
BODY = st.text(st.sampled_from("a\n]}[{#=,. "), max_size=20)
# One or two quotation marks may stand right before the closing three.
LONG = st.builds("'''{}{}'''".format, BODY, st.sampled_from(["", "'", "''"]))
ESCAPES = st.sampled_from(["", r"\"", r"\\", "'''", '""', "\\\n  "])
TAILS = st.sampled_from(["", '"', '""', r"\\", r"\""])
LONG_BASIC = st.builds('"""{}{}.{}{}"""'.format, BODY, ESCAPES, BODY, TAILS)
PLAIN = st.sampled_from(["1", "-0.5", "true", "2026-03-01", "2026-03-01 12:00:00Z", "inf", "0x1F", "1_000"])
GAP = st.sampled_from(["", " ", "\n", " # ] } , [[x]]\n", "\n\n"])


@st.composite
def arrays(draw, values):
    return "[" + ",".join(draw(GAP) + value + draw(GAP) for value in draw(st.lists(values, max_size=3))) + "]"


@st.composite
def inline_tables(draw, values):
    keys = draw(
        st.lists(KEY, max_size=3, unique_by=lambda key: tomllib.loads(f"k = {key}")["k"] if key[0] == '"' else key)
    )
    return "{" + ", ".join(f"{key} = {draw(values)}" for key in keys) + "}"


VALUE = st.recursive(
    STRING | LONG | LONG_BASIC | PLAIN, lambda inner: arrays(inner) | inline_tables(inner), max_leaves=6
)


@st.composite
def documents(draw):
    """A text of tables and pairs, and the line on which each pair begins."""
    text, lines, counts = "", {}, 0
    for number in range(draw(st.integers(1, 6))):
        many = draw(st.booleans())
        text += draw(GAP.filter(lambda gap: not gap.strip(" \n")))
        table = (f"t {number}",) if not many else ("many", counts)
        counts += many
        text += "\n[[many]]\n" if many else f'\n["t {number}"] # [x]\n'
        for place, value in enumerate(draw(st.lists(VALUE, max_size=3))):
            lines[*table, f"k{place}", "in.ner"] = text.count("\n") + 1
            text += f"k{place} . 'in.ner' = {value}  # {draw(PLAIN)}\n"
    return text, lines


@settings(deadline=None)
@given(documents())
def test_no_text_fools_the_finder(document):
    text, lines = document

    found = find_lines(text)

    assert set(found) | {()} == set(paths(tomllib.loads(text)))
    assert {path: found[path] for path in lines} == lines
