"""Flower beside the installation: what a person sees of the tasks, and what nobody must see there."""

from typing import Any

import httpx
import pytest

from pipeline.embedded.liveness import wait_until
from pipeline.storage.vault import Vault

from .installation import Installation
from .operator_side import COMPANY_A, NAMES, USER_KEY, VENDOR_KEY, Sent
from .papers import Paper, papers

LOOK_SECONDS = 20.0
FIRST_SHOWN = 3


@pytest.fixture
def documents() -> list[Paper]:
    return papers(7)


@pytest.fixture
def sent(line: Installation, documents: list[Paper]) -> list[Sent]:
    done = line.submit(documents)
    line.wait_until_taken(done, seconds=30)
    return done


@pytest.fixture
def tasks(line: Installation, sent: list[Sent]) -> dict[str, dict[str, Any]]:
    """Flower's list of tasks, once it has heard of the end of the one that sent the invoices."""
    found: dict[str, dict[str, Any]] = {}

    def ended() -> bool:
        found.clear()
        found.update(ask(line, "/api/tasks?limit=1000").json())
        return any(task["state"] == "SUCCESS" for task in sending(found, sent))

    assert wait_until(ended, seconds=LOOK_SECONDS, poll_seconds=0.2), f"Flower knows no ended task: {list(found)[:5]}"
    return found


def test_task_shows_company_count_and_result(tasks: dict[str, dict[str, Any]], sent: list[Sent]):
    """A task is shown with its company, how many invoices, the first UUIDs, and the result in numbers."""
    shown = [task for task in sending(tasks, sent) if task["state"] == "SUCCESS"]

    counts = [task["kwargs"] for task in shown]
    assert any(f"'company': '{NAMES[COMPANY_A]}'" in text and "'count': " in text for text in counts), counts
    assert sum(one.uuid in text for one in sent for text in counts) >= FIRST_SHOWN
    assert {task["result"] for task in shown} <= {f"{{'accepted': {n}}}" for n in range(1, len(sent) + 1)}


def test_no_secret_and_no_document_is_shown(
    line: Installation, tasks: dict[str, dict[str, Any]], sent: list[Sent], documents: list[Paper]
):
    """Neither keys, tokens, passwords nor anything out of a document reaches Flower's API or its page of tasks."""
    page = ask(line, "/tasks").text
    everything = (
        str(tasks) + page + "".join(str(ask(line, f"/api/task/info/{name}").json()) for name in list(tasks)[:50])
    )

    secrets = [USER_KEY, VENDOR_KEY, *line.settings.require_encryption_keys()]
    secrets += [line.settings.require_database_url().split("@")[0].rpartition(":")[2]]
    secrets += [line.settings.require_broker_url().split("@")[0].rpartition(":")[2], *tokens(line)]
    assert not [secret for secret in secrets if secret in everything]
    assert "<?xml" not in everything
    assert "Finvoice" not in everything
    assert not [paper.filename for paper in documents if paper.filename in everything]


@pytest.mark.parametrize("path", ["/", "/tasks", "/api/tasks", "/api/workers", "/broker"])
def test_nothing_is_shown_without_login(line: Installation, path: str):
    """Without the login, and with a wrong one, every page and the API answer 401."""
    url = line.stack.urls["flower"] + path

    assert httpx.get(url, trust_env=False).status_code == httpx.codes.UNAUTHORIZED
    assert httpx.get(url, auth=("postiljon", "wrong"), trust_env=False).status_code == httpx.codes.UNAUTHORIZED


def test_task_cannot_be_started_from_flower(line: Installation):
    """Flower only looks: shutting a worker down through it is refused even with the login."""
    user, _, password = line.stack.flower_login.partition(":")
    worker = next(iter(ask(line, "/api/workers?refresh=1").json()))

    url = f"{line.stack.urls['flower']}/api/worker/shutdown/{worker}"
    answer = httpx.post(url, auth=(user, password), trust_env=False, timeout=30)

    assert answer.status_code >= httpx.codes.BAD_REQUEST, answer.text
    assert line.worker_send.is_ready()
    assert line.worker_pump.is_ready()


def ask(line: Installation, path: str) -> httpx.Response:
    """Ask Flower with the login that the installation made."""
    user, _, password = line.stack.flower_login.partition(":")
    answer = httpx.get(line.stack.urls["flower"] + path, auth=(user, password), trust_env=False, timeout=30)
    answer.raise_for_status()
    return answer


def sending(tasks: dict[str, dict[str, Any]], sent: list[Sent]) -> list[dict[str, Any]]:
    """The tasks that sent these invoices."""
    uuids = {one.uuid for one in sent}
    shown = [task for task in tasks.values() if task["name"] == "send"]
    return [task for task in shown if any(uuid in (task["kwargs"] or "") for uuid in uuids)]


def tokens(line: Installation) -> list[str]:
    """The access tokens on the fleet's shelf, opened."""
    vault = Vault(line.settings.require_encryption_keys())
    with line.database.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT token FROM access_token WHERE token IS NOT NULL").all()
    opened = [vault.open(row[0]) for row in rows]
    assert opened, "no token is on the shelf: nothing to look for"
    return opened
