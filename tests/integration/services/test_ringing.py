"""The bell: once after the commit, never before, and not at all for nothing."""

from sqlmodel import Session

from .line import document
from .submitting import NOTHING, Bell, counts, send


def test_the_bell_rings_once_after_the_commit(line):
    bell = Bell(line)

    with Session(line.database.engine) as session:
        for _ in range(3):
            send(session, line, bell=bell)
            assert bell.seen == []
        session.commit()
        session.connection()
        session.commit()

    assert bell.seen == [3]


def test_a_savepoint_of_the_caller_rings_nobody_before_the_commit(line):
    bell = Bell(line)

    with Session(line.database.engine) as session:
        with session.begin_nested():
            send(session, line, bell=bell)
        with session.begin_nested() as undone:
            send(session, line, bell=bell)
            undone.rollback()
        assert bell.seen == []
        session.commit()

    assert bell.seen == [1]


def test_each_commit_of_a_session_rings_for_its_own(line):
    bell = Bell(line)

    with Session(line.database.engine) as session:
        send(session, line, bell=bell)
        session.commit()
        send(session, line, bell=bell)
        session.commit()

    assert bell.seen == [1, 2]


def test_a_known_document_rings_nobody(line):
    content, bell = document(), Bell(line)
    with line.database.transaction() as session:
        send(session, line, content)

    with line.database.transaction() as session:
        assert send(session, line, content, bell=bell).created is False

    assert bell.seen == []


def test_a_rollback_leaves_nothing_and_rings_nobody(line):
    bell = Bell(line)
    with Session(line.database.engine) as session:
        send(session, line, batch="night", bell=bell)
        session.rollback()
        send(session, line, document("<InvoiceNumber>2</InvoiceNumber>"))
        session.rollback()
        session.connection()
        session.commit()

    assert counts(line) == NOTHING
    assert bell.seen == []
