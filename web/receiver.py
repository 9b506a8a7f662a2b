"""The webhook receiver: an ASGI application that turns what the operator posts into hints. Believes nothing of it.

POST /webhooks/{secret}: 204 once the hint is committed (also for invoices it does not know), 404 for an unknown secret,
400 malformed, 408 too slow, 413 too large, 503 database away. GET /health: 200, or 503 when the database is away.
No answer says why, and no log line holds a path or a body: the path is the secret.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from pipeline.bootstrap import build_database
from pipeline.domain.errors import PostiljonError
from pipeline.settings import Settings, load_settings
from pipeline.storage.webhooks import Hint
from web.intake import Intake
from web.payload import MalformedError, read_payload

BODY_LIMIT_BYTES = 64 * 1024
"""A webhook of the operator is a few hundred bytes."""
BODY_SECONDS = 10.0
"""For the whole body: who sends a byte now and then is sent away."""

log = logging.getLogger("uvicorn.error.receiver")
"""Below the logger that uvicorn sets up, so that lines come out without a set-up of ours."""


def create_app(settings: Settings | None = None, *, body_seconds: float = BODY_SECONDS) -> Starlette:
    """Build the application: `python -m uvicorn web.receiver:create_app --factory`, or with all limits `python -m web`.

    Raises: ConfigurationError without a database.
    """
    receiver = Receiver(Intake(build_database(settings or load_settings())), body_seconds=body_seconds)
    app = Starlette(
        routes=[
            Route("/webhooks/{secret}", receiver.receive, methods=["POST"]),
            Route("/health", receiver.health, methods=["GET"]),
        ],
        # One answer for whatever is not there: it does not tell a wrong secret from a wrong path or method.
        exception_handlers={HTTPException: _refuse, PostiljonError: _unavailable},
        lifespan=receiver.live,
    )
    app.router.redirect_slashes = False
    return app


class Receiver:
    """The two endpoints on one intake."""

    def __init__(self, intake: Intake, *, body_seconds: float) -> None:
        self._intake = intake
        self._body_seconds = body_seconds

    @asynccontextmanager
    async def live(self, _: Starlette) -> AsyncIterator[None]:
        """Keep paths out of the log, and close the intake when the server ends."""
        logging.getLogger("uvicorn.access").disabled = True
        yield
        self._intake.close()

    async def receive(self, request: Request) -> Response:
        """Take one webhook; 2xx only after the commit."""
        try:
            payload = read_payload(await _read_body(request, seconds=self._body_seconds))
        except MalformedError as exc:
            raise HTTPException(HTTPStatus.BAD_REQUEST) from exc
        except ClientDisconnect:
            return Response(status_code=HTTPStatus.BAD_REQUEST)  # nobody is there to read it
        hint = await self._intake.store(
            request.path_params["secret"], invoice_id=payload.invoice_id, event=payload.event
        )
        if hint is Hint.UNKNOWN_SECRET:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def health(self, _: Request) -> Response:
        """Say whether the database can be reached."""
        await self._intake.check()
        return PlainTextResponse("ok\n")


async def _read_body(request: Request, *, seconds: float) -> bytes:
    """Read a body within limits of bytes and time; what is over them is not read on."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > BODY_LIMIT_BYTES:
        raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                body += part
                if len(body) > BODY_LIMIT_BYTES:
                    raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    except TimeoutError as exc:
        raise HTTPException(HTTPStatus.REQUEST_TIMEOUT) from exc
    return bytes(body)


async def _refuse(_: Request, exc: Exception) -> Response:
    status = exc.status_code if isinstance(exc, HTTPException) else HTTPStatus.INTERNAL_SERVER_ERROR
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        status = HTTPStatus.NOT_FOUND
    return PlainTextResponse(f"{HTTPStatus(status).phrase}\n", status_code=status)


async def _unavailable(_: Request, exc: Exception) -> Response:
    log.warning("answered 503: %s", exc)
    return PlainTextResponse("Service Unavailable\n", status_code=HTTPStatus.SERVICE_UNAVAILABLE)
