"""What every rival's task does: read the file, upload it under its UUID, write the outcome into PostgreSQL.

One client and one connection for each process or thread, which is more than most tutorials do.
"""

import asyncio
import os
import threading
from functools import cache
from pathlib import Path

import httpx
import psycopg
from psycopg_pool import AsyncConnectionPool

COMPANY = "00000000-0000-4000-8000-000000000001"
KEYS = {"grant_type": "client_credentials", "client_id": COMPANY, "client_secret": "demo-user-key", "scope": "eui"}
RECORD = "INSERT INTO outcome (uuid, status, at) VALUES (%s, %s, now())"
CREATED = 201
AT_ONCE = 100
TIMEOUT_SECONDS = 60.0
_own = threading.local()


def database_url() -> str:
    """Return where the outcomes go."""
    return os.environ["BENCH_DATABASE_URL"]


def broker_url() -> str:
    """Return where the messages go."""
    return os.environ["BENCH_BROKER_URL"]


@cache
def token() -> str:
    """Return the access token, fetched once a process."""
    answer = httpx.post(f"{_operator_url()}/oauth2/token", data=KEYS, timeout=TIMEOUT_SECONDS, trust_env=False)
    return str(answer.raise_for_status().json()["access_token"])


def send(path: str) -> None:
    """Upload one invoice and record it."""
    answer = _client().post("/v1/invoices", **_form(path))
    if answer.status_code != CREATED:
        raise RuntimeError(f"{path}: {answer.status_code}")
    _connection().execute(RECORD, (Path(path).stem, answer.json()["status"]))


async def send_async(path: str) -> None:
    """Upload one invoice and record it, on an event loop."""
    client, pool = await _belongings()
    answer = await client.post("/v1/invoices", **_form(path))
    if answer.status_code != CREATED:
        raise RuntimeError(f"{path}: {answer.status_code}")
    async with pool.connection() as connection:
        await connection.execute(RECORD, (Path(path).stem, answer.json()["status"]))


def _form(path: str) -> dict[str, object]:
    file = Path(path)
    return {"data": {"uuid": file.stem}, "files": {"file": (file.name, file.read_bytes(), "application/xml")}}


def _operator_url() -> str:
    return os.environ["BENCH_OPERATOR_URL"]


def _options() -> dict[str, object]:
    headers = {"Authorization": f"Bearer {token()}"}
    return {"base_url": _operator_url(), "headers": headers, "timeout": TIMEOUT_SECONDS, "trust_env": False}


def _client() -> httpx.Client:
    if not hasattr(_own, "client"):
        _own.client = httpx.Client(**_options())
    return _own.client


def _connection() -> psycopg.Connection:
    if not hasattr(_own, "connection"):
        _own.connection = psycopg.connect(database_url(), autocommit=True)
    return _own.connection


async def _belongings() -> tuple[httpx.AsyncClient, AsyncConnectionPool]:
    if not hasattr(_own, "belongings"):
        _own.belongings = asyncio.ensure_future(_open())
    return await _own.belongings


async def _open() -> tuple[httpx.AsyncClient, AsyncConnectionPool]:
    pool = AsyncConnectionPool(database_url(), min_size=4, max_size=4, open=False, kwargs={"autocommit": True})
    await pool.open()
    return httpx.AsyncClient(**_options()), pool
