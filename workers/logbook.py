"""How log lines look: the sentence, then event= and the other keys, so that a line can be searched and counted."""

import logging
from typing import Any

from celery.signals import after_setup_logger, after_setup_task_logger

FORMAT = "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s"
STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "data"}


class KeyedFormatter(logging.Formatter):
    """Appends what a record was given as `extra`, event first."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, a traceback behind it if there is one."""
        extra: dict[str, Any] = {name: value for name, value in vars(record).items() if name not in STANDARD}
        if "event" not in extra:
            return super().format(record)
        ordered = {"event": extra.pop("event"), **extra}
        line = logging.makeLogRecord(vars(record))
        line.msg = f"{record.getMessage()} " + " ".join(f"{name}={value}" for name, value in ordered.items())
        line.args = None
        return super().format(line)


@after_setup_logger.connect  # type: ignore[untyped-decorator]  # Celery ships no types
@after_setup_task_logger.connect  # type: ignore[untyped-decorator]
def use_keys(logger: logging.Logger, **_: object) -> None:
    """Give Celery's handlers our formatter."""
    for handler in logger.handlers:
        handler.setFormatter(KeyedFormatter(FORMAT))
