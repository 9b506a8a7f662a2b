"""Rings a bell when the caller's transaction is committed, and only then. Knows nothing of what the bell does."""

from sqlalchemy import event
from sqlalchemy.orm import Session

from pipeline.services.ports import Bell

WAITING = "postiljon_bells"
"""Where a session keeps the bells of its transaction (`Session.info`)."""


def ring_after_commit(session: Session, bell: Bell) -> None:
    """Ring a bell once after the next commit, however often it is asked for; a rollback forgets it."""
    bells: dict[Bell, None] = session.info.setdefault(WAITING, {})
    bells[bell] = None
    if not event.contains(session, "after_commit", _ring):
        event.listen(session, "after_commit", _ring)
        event.listen(session, "after_rollback", _forget)


def _ring(session: Session) -> None:
    # Also called when a savepoint is released: the rows are not visible to anybody then.
    if session.in_nested_transaction():
        return
    for bell in session.info.pop(WAITING, {}):
        bell()


def _forget(session: Session) -> None:
    if not session.in_nested_transaction():
        session.info.pop(WAITING, None)
