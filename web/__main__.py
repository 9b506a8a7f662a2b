"""`python -m web --host H --port P`: the webhook receiver with its limits. Speaks plain HTTP: TLS ends before it."""

import argparse
import asyncio
import sys

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from pipeline.domain.errors import PostiljonError
from web.receiver import create_app

CONNECTION_SECONDS = 20.0
"""For a whole connection: above the limits for body and database together, so only slow headers meet it."""
STOP_SECONDS = 10


class BriefConnection(H11Protocol):
    """One request, within a limited time: uvicorn itself would wait for the rest of a header for ever."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own type
        """Begin to count."""
        super().connection_made(transport)
        self._end = self.loop.call_later(CONNECTION_SECONDS, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop counting."""
        self._end.cancel()
        super().connection_lost(exc)


def main() -> int:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m web", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8098)
    chosen = parser.parse_args()
    try:
        app = create_app()
    except PostiljonError as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 2
    uvicorn.run(
        app,
        host=chosen.host,
        port=chosen.port,
        http=BriefConnection,
        headers=[("Connection", "close")],
        server_header=False,
        # It would log every path, and the path is the secret.
        access_log=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
