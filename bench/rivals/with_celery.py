"""Celery: one task per invoice."""

from collections.abc import Iterable

from celery import Celery

from bench.rivals import work

app = Celery("tutorial", broker=work.broker_url())
app.conf.broker_connection_retry_on_startup = True
app.conf.task_ignore_result = True


@app.task
def send(path: str) -> None:
    """Send one invoice."""
    work.send(path)


def enqueue(paths: Iterable[str]) -> None:
    """Ask for each."""
    for path in paths:
        send.delay(path)
