"""What docs/ says is so: the worked example runs as printed, and the references name every word there is."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import pytest
import typer

from pipeline.cli.main import build_cli
from pipeline.cli.stack import POSTILJON
from pipeline.domain.cause import Cause, Owner
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.routing_file import parse_routing
from pipeline.domain.routing_rows import builtin_table
from pipeline.domain.state import OperatorState, State
from pipeline.domain.way import Way
from pipeline.embedded.liveness import wait_until

from .papers import PROJECT
from .processes import processes_of

CASES = PROJECT / "docs" / "cases.md"
ROUTING = PROJECT / "docs" / "routing.md"
PATIENCE = "some seconds"
"""In the paragraph before a block it means: what stands there comes about by itself, so look again until it has."""
STATUS = re.compile(r"exit status (\d)")
PATIENCE_SECONDS = 60
COMMAND_SECONDS = 150
LOOKS = re.compile(r"postiljon (cases (list|show)|show|list|board) ")
"""Only commands that change nothing may be repeated."""

LEFT_OUT = "..."
VOLATILE = (
    (re.compile(r"\x1b\[[0-9;]*m"), ""),
    (re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "UUID"),
    (re.compile(r"\b(\d{4}-)?\d\d-\d\d \d\d:\d\d(:\d\d(\.\d+)?)?\b"), "TIME"),
    (re.compile(r"\bprocess \d+"), "process N"),
    (re.compile(r"\b([Cc]ases?(?: show)?)\s+\d+\b"), r"\1 N"),
    (re.compile(r"^\d+ UUID\b"), "N UUID"),
    (re.compile(r"\ba person \([^)]*\)"), "a person (NAME)"),
)
"""What differs from run to run, or from machine to machine. Names, counts, sums and words do not."""
RULED = re.compile(r"[─\s]*")


@dataclass(frozen=True, kw_only=True)
class Step:
    """One command of a document and what it prints."""

    line: int
    command: str
    printed: list[str] = field(default_factory=list)
    patient: bool = False
    status: int = 0


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder in which the example runs; whatever happens, nothing of it runs on."""
    folder = tmp_path / "example"
    folder.mkdir()
    try:
        yield folder
    finally:
        subprocess.run([*POSTILJON, "down"], env=environment(folder), cwd=folder, capture_output=True, check=False)
    left = processes_of(folder)
    assert not left, f"running although the example has ended: {left}"


@pytest.mark.timeout(900)
def test_worked_example_runs_as_printed(place: Path):
    """Every command of docs/cases.md, typed in order, ends as it says and prints what it says."""
    steps = read_steps(CASES)
    exported = ""

    for step in steps:
        run(step, exported, place)
        if step.command.startswith("export "):
            exported += step.command + "\n"

    assert steps[-1].command == "postiljon down"


@pytest.mark.parametrize("word", [*State, *Cause, *Owner, *Way], ids=lambda word: f"{type(word).__name__}.{word}")
def test_every_word_is_explained(word: State | Cause | Owner | Way):
    """No state, cause, owner or way out can appear on a screen that docs/cases.md does not explain."""
    assert f"`{word.value}`" in prose(CASES)


@pytest.mark.parametrize("state", OperatorState, ids=lambda state: state.name)
def test_operator_states_stand_with_their_numbers(state: OperatorState):
    """Each of the operator's states is named with its number, and told for information only when it is."""
    rows = [row for row in prose(CASES).splitlines() if re.search(rf"\b{state.value} {state.name}\b", row)]

    assert len(rows) == 1
    assert ("information only" in rows[0]) is state.is_information


def test_example_of_rules_is_a_valid_file():
    """The complete example of docs/routing.md passes the parser, and shows every key there is."""
    example = toml_example()

    routing = parse_routing(example, source="docs/routing.md", table=builtin_table())

    assert routing.for_company(UUID(int=0), "Esimerkki Oy").automatic == {Way.EMAIL, Way.RETRY}
    shown = set(keys_in(tomllib.loads(example)))
    assert known_keys() <= shown


def test_every_key_of_the_rules_is_explained():
    """No key that the parser takes is missing from the tables of docs/routing.md."""
    rows = [row.split("|")[1] for row in prose(ROUTING).splitlines() if row.startswith("| `")]
    explained = {key for row in rows for key in re.findall(r"`(\w+)`", row)}

    assert known_keys() == explained


def test_changed_output_is_noticed(place: Path):
    """The check itself: a wrong word, a missing line, a line too many and a wrong status are each found."""
    good = Step(
        line=1, command="echo 'case 7  42 invoices, 3 done'; echo more", printed=["case 9 42 invoices, ...", "more"]
    )

    run(good, "", place)

    for bad in (
        Step(line=2, command=good.command, printed=["case 9 43 invoices, ...", "more"]),
        Step(line=3, command=good.command, printed=["case 9 42 invoices, ...", "more", "and more"]),
        Step(line=4, command=good.command, printed=["case 9 42 invoices, ..."]),
        Step(line=5, command="false"),
        Step(line=6, command="true", status=2),
    ):
        with pytest.raises(AssertionError):
            run(bad, "", place)


@pytest.mark.parametrize("document", [CASES, ROUTING], ids=lambda document: document.stem)
def test_every_named_command_exists(document: Path):
    """A command that a document names has that name, and takes the options it is named with."""
    commands = named_commands(document)

    assert len(commands) > 5
    for words in commands:
        assert unknown_words(words) == [], f"postiljon {' '.join(words)}"


# Reading a document.


def read_steps(document: Path) -> list[Step]:
    """Read the commands of all console blocks, each with its output."""
    steps: list[Step] = []
    paragraph, last, in_block = "", "", False
    for number, line in enumerate(document.read_text(encoding="utf-8").splitlines(), start=1):
        if line.startswith("```"):
            in_block = line == "```console"
            before, paragraph = paragraph, paragraph if in_block else ""
        elif not in_block:
            # A blank line ends a paragraph; the next line begins a new one.
            paragraph = f"{paragraph} {line}" if line and last else line or paragraph
            last = line
        elif line.startswith("$ "):
            told = STATUS.search(before)
            steps.append(
                Step(
                    line=number,
                    command=line.removeprefix("$ "),
                    patient=PATIENCE in before,
                    status=int(told.group(1)) if told else 0,
                )
            )
        elif line == ">" or line.startswith("> "):
            steps[-1] = with_line(steps[-1], line[2:])
        else:
            steps[-1].printed.append(line)
    return steps


def with_line(step: Step, line: str) -> Step:
    return Step(line=step.line, command=f"{step.command}\n{line}", patient=step.patient, status=step.status)


def prose(document: Path) -> str:
    """The document without its blocks."""
    return re.sub(r"^```.*?^```$", "", document.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def toml_example() -> str:
    """The one block of TOML in docs/routing.md."""
    (example,) = re.findall(r"^```toml\n(.*?)^```$", ROUTING.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return example


def named_commands(document: Path) -> list[list[str]]:
    """Every `postiljon ...` in the text or in a block, as its words."""
    found = re.findall(r"(?:`|^\$ )postiljon ([^`#\n]+)", document.read_text(encoding="utf-8"), re.MULTILINE)
    return [shlex.split(each) for each in found]


def unknown_words(words: list[str]) -> list[str]:
    """The subcommands and options that the command line does not know."""
    command = typer.main.get_command(build_cli(lambda: None))
    unknown: list[str] = []
    for word in words:
        subcommands = getattr(command, "commands", None)
        if subcommands is not None:
            command = subcommands.get(word)
            if command is None:
                return [word]
        elif word.startswith("--") and not any(word in option.opts for option in command.params):
            unknown.append(word)
    return unknown


def keys_in(value: object) -> Iterator[str]:
    """All keys of a file, at any depth."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from keys_in(inner)
    elif isinstance(value, list):
        for each in value:
            yield from keys_in(each)


def known_keys() -> set[str]:
    """Every key that the parser takes anywhere, as it tells them itself when it meets one that it does not."""
    stranger = "zzzzzzzzzzzz = 1\n"
    tables = ("[pending]", "[[rule]]", "[[verdict]]", "[company.one]")
    text = stranger + "".join(f"{table}\n{stranger}" for table in tables)
    with pytest.raises(ConfigurationError) as told:
        parse_routing(text, table=builtin_table())
    lists = re.findall(r"is no key here; there are (.*)", str(told.value))
    assert len(lists) == 1 + len(tables), told.value
    return {key for each in lists for key in each.split(", ")}


# Running a command.


def run(step: Step, exported: str, folder: Path) -> None:
    """Run one command; say by its line in the document what is not as printed there."""
    assert not step.patient or LOOKS.match(step.command), (
        f"line {step.line}: only looks can be repeated: {step.command}"
    )
    wrong = output = ""

    def agrees() -> bool:
        nonlocal wrong, output
        status, output = look(step, exported, folder)
        wrong = what_is_wrong(step, status, output)
        return not wrong

    agreed = wait_until(agrees, seconds=PATIENCE_SECONDS, poll_seconds=1.0) if step.patient else agrees()
    assert agreed, f"line {step.line}: $ {step.command}\n{wrong}\nIt printed:\n{output}"


def look(step: Step, exported: str, folder: Path) -> tuple[int, str]:
    """Run the command once; return its status and all that it printed."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", exported + step.command],
        env=environment(folder),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    return done.returncode, done.stdout


def what_is_wrong(step: Step, status: int, output: str) -> str:
    """Compare what was printed with what the document prints; empty when they agree."""
    if status != step.status:
        return f"It ended with status {status}, not {step.status}."
    left = [plain(line) for line in output.splitlines() if not RULED.fullmatch(line)]
    for line in step.printed:
        if line == LEFT_OUT or RULED.fullmatch(line):
            continue
        pattern = re.compile(".*".join(re.escape(part) for part in plain(line).split(LEFT_OUT)))
        found = next((each for each in left if pattern.fullmatch(each)), None)
        if found is None:
            return f"It does not print: {line}"
        left.remove(found)
    if left and LEFT_OUT not in step.printed:
        return f"The document leaves out without saying so: {left}"
    return ""


def plain(line: str) -> str:
    """A line without what differs from run to run."""
    line = " ".join(line.split())
    for pattern, word in VOLATILE:
        line = pattern.sub(word, line)
    return line


def environment(folder: Path) -> dict[str, str]:
    """Nothing of this machine but where programs are."""
    programs = os.pathsep.join((str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"))
    return {
        "PATH": programs,
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "LANG": "C.UTF-8",
        "USER": "maija",
        "PYTHONPATH": str(PROJECT),
        "POSTILJON_STATE_DIR": str(folder / "try"),
    }
