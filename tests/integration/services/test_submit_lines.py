"""Submitting in bulk: a verdict for every line, in order, after its commit; one bad line stops no other."""

import io
from dataclasses import replace
from hashlib import sha256
from uuid import uuid4

import pytest

from pipeline.domain.document import DEFAULT_LIMITS
from pipeline.domain.errors import ServiceUnavailableError
from pipeline.maventa.schemas import UploadOptions
from pipeline.services import preparers
from pipeline.services.gather import gather
from pipeline.services.lines import Line, NoLine, lines_of
from pipeline.services.submit_lines import GROUP_LINES, Bulk, Verdict, submit_lines
from pipeline.services.wanted import Terms

from .line import document
from .submitting import NOTHING, Bell, counts, send

PLAIN = Terms()


def asked(content, terms=PLAIN, **given):
    return Line(path="a.xml", name="a.xml", terms=terms, content=content, size=len(content), **given)


def bulk(line, **given):
    return Bulk(**{"company_id": line.company, "limits": DEFAULT_LIMITS, "processes": 0, **given})


def submitted(line, lines, **given):
    return [verdict for group in submit_lines(line.database, lines, bulk(line, **given)) for verdict in group]


def words(verdicts):
    return [verdict.verdict.value for verdict in verdicts]


def test_every_line_has_its_verdict_in_order_and_a_bad_one_stops_no_other(line):
    """Good, broken, known, doubled and skipped lines of one group each get what they deserve, in their order."""
    known, good = document(), document()
    with line.database.transaction() as session:
        send(session, line, known)
    lines = [
        asked(good),
        asked(b"<broken"),
        NoLine(path="x.txt", message="neither XML nor ZIP", skipped=True),
        asked(known),
        NoLine(path="gone.xml", message="gone.xml: there is no such file"),
        asked(good),
        asked(document(), Terms(reference=" ")),
        asked(document()),
        asked(b""),
    ]

    verdicts = submitted(line, lines)

    assert words(verdicts) == [
        "queued",
        "refused",
        "skipped",
        "known",
        "refused",
        "known",
        "refused",
        "queued",
        "refused",
    ]
    assert counts(line)["invoice"] == 3
    assert verdicts[0].uuid == verdicts[5].uuid
    assert verdicts[0].sha256 == sha256(good).hexdigest()
    assert line.content(verdicts[0].uuid) == good


def test_verdicts_are_told_after_the_commit(line):
    """Whoever hears that an invoice is queued can find it with another connection."""
    lines = [asked(document()) for _ in range(GROUP_LINES + 1)]
    seen = [(len(group), counts(line)["invoice"]) for group in submit_lines(line.database, lines, bulk(line))]

    assert seen == [(GROUP_LINES, GROUP_LINES), (1, GROUP_LINES + 1)]


def test_terms_of_each_line_are_kept(line):
    terms = Terms(uuid=uuid4(), reference=" R-1 ", batch="night", options=UploadOptions(lang="FI"), priority=3)

    (verdict,) = submitted(line, [asked(document(), terms)])

    row = line.row(verdict.uuid)
    assert (row.id, row.reference, row.options, row.priority) == (terms.uuid, "R-1", {"lang": "FI"}, 3)
    assert [event.cause for event in line.events(verdict.uuid)] == ["submitted as a.xml in batch night"]


@pytest.mark.parametrize("other", ["bytes", "options"])
def test_another_content_under_a_reference_is_refused_inside_one_group_too(line, other):
    terms = Terms(reference="R-1")
    first = asked(document(), terms)
    second = (
        asked(document(), terms)
        if other == "bytes"
        else replace(first, terms=replace(terms, options=UploadOptions(lang="FI")))
    )

    verdicts = submitted(line, [first, second])
    again = submitted(line, [second, first])

    assert words(verdicts) == ["queued", "refused"]
    assert words(again) == ["refused", "known"]
    assert other in verdicts[1].message


def test_the_first_of_two_that_can_be_sent_stands(line):
    """A broken document does not take the UUID from a good one behind it."""
    terms = Terms(reference="R-1")

    assert words(submitted(line, [asked(b"<broken", terms), asked(document(), terms)])) == ["refused", "queued"]


def test_what_is_known_is_not_inspected_again(line):
    """Running again asks for UUID and hash alone: limits made stricter meanwhile do not matter."""
    content = document()
    submitted(line, [asked(content)])

    (again,) = submitted(line, [asked(content)], limits=replace(DEFAULT_LIMITS, max_depth=0))

    assert again.verdict is Verdict.KNOWN
    assert (
        submitted(line, [asked(document())], limits=replace(DEFAULT_LIMITS, max_depth=0))[0].verdict is Verdict.REFUSED
    )


def test_a_value_the_database_will_not_have_refuses_its_line_alone(line):
    """What only the database finds wrong costs one line, not its group."""
    line.change("ALTER TABLE invoice ADD CHECK (filename <> 'poison.xml')")
    poison = replace(asked(document()), name="poison.xml")

    verdicts = submitted(line, [asked(document()), poison, asked(document())])

    assert words(verdicts) == ["queued", "refused", "queued"]
    assert "cannot store" in verdicts[1].message


def test_the_bell_is_rung_after_the_first_group_and_then_rarely(line):
    """A thousand groups a second do not ring a thousand times; the last ones are rung for at the end."""
    bell, now = Bell(line), [0.0]
    lines = [asked(document()) for _ in range(4 * GROUP_LINES)]
    given = {"bell": bell, "seconds": lambda: now[0]}

    for number, _ in enumerate(submit_lines(line.database, lines, bulk(line, **given))):
        now[0] += 0.4 if number < 2 else 0.3

    assert bell.seen == [GROUP_LINES, 4 * GROUP_LINES]


def test_nothing_new_rings_no_bell(line):
    bell, content = Bell(line), document()
    submitted(line, [asked(content)])

    submitted(line, [asked(content), asked(b"")], bell=bell)

    assert bell.seen == []


def test_stopping_finishes_what_is_in_hand_and_takes_no_more(line):
    """Once asked to stop, no further group is begun, and everything stored has its verdict."""
    stopped = []
    lines = (asked(document()) for _ in range(100 * GROUP_LINES))
    verdicts = []

    for group in submit_lines(line.database, lines, bulk(line, stop=lambda: bool(stopped))):
        verdicts += group
        stopped.append(True)

    assert len(verdicts) == counts(line)["invoice"] == GROUP_LINES


def test_processes_beside_this_one_give_the_same_verdicts(line, tmp_path):
    """Prepared by two processes or none: same order, same verdicts, same bytes; and no process is left."""
    contents = [document() if number % 5 else b"<broken" for number in range(60)]
    for number, content in enumerate(contents):
        (tmp_path / f"{number:03}.xml").write_bytes(content)

    def run(processes):
        lines = lines_of(gather([str(tmp_path)], limits=DEFAULT_LIMITS, stdin=io.BytesIO()), PLAIN)
        return submitted(line, lines, processes=processes, group_lines=7, inspected_alone=5)

    first, second = run(2), run(0)

    assert words(first) == ["queued" if number % 5 else "refused" for number in range(60)]
    assert words(second) == ["known" if number % 5 else "refused" for number in range(60)]
    assert [each.path for each in first] == [each.path for each in second] == sorted(each.path for each in first)
    assert [each.uuid for each in first] == [each.uuid for each in second]
    assert all(line.content(each.uuid) == contents[number] for number, each in enumerate(first) if number % 5)


def test_many_are_stored_in_order_while_others_are_prepared(line):
    """Once they are many, storing is done beside preparing: every verdict in its place, the first of two stands."""
    first, other = document(), document()
    contents = [first, *(document() for _ in range(20)), b"<broken", first, other]
    lines = [asked(content) for content in contents]

    verdicts = submitted(line, [*lines, asked(other)], processes=0, group_lines=2, inspected_alone=0)

    assert words(verdicts) == ["queued"] * 21 + ["refused", "known", "queued", "known"]
    assert counts(line)["invoice"] == 22


def test_what_is_stored_is_told_before_a_failure(line):
    """When preparing fails while the group before is being stored, that group still has its verdicts."""

    def lines():
        yield from (asked(document()) for _ in range(4))
        raise ServiceUnavailableError("gone")

    verdicts = []
    groups = submit_lines(line.database, lines(), bulk(line, processes=0, group_lines=2, inspected_alone=0))
    with pytest.raises(ServiceUnavailableError, match="gone"):
        verdicts.extend(verdict for group in groups for verdict in group)

    assert words(verdicts) == ["queued"] * 2
    assert counts(line)["invoice"] == 2


def test_a_killed_process_beside_us_is_told_and_loses_nothing(line, monkeypatch):
    started = []
    popen = preparers.subprocess.Popen
    monkeypatch.setattr(preparers.subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[-1])

    def lines():
        while True:
            yield asked(document())
            for process in started:
                process.kill()

    verdicts = []
    groups = submit_lines(line.database, lines(), bulk(line, processes=1, group_lines=1, inspected_alone=0))
    with pytest.raises(ServiceUnavailableError, match="same command"):
        verdicts.extend(verdict for group in groups for verdict in group)

    assert len(verdicts) == counts(line)["invoice"]
    assert all(process.poll() is not None for process in started)


def test_no_database_is_told_before_anything_is_taken(line):
    line.database.close()

    assert submitted(line, []) == []
    assert counts(line) == NOTHING
