"""Which loopback port a service may take; knows nothing of the service."""

from __future__ import annotations

import contextlib
import random
import socket

LOOPBACK = "127.0.0.1"
# Below the ranges from which Linux (32768) and macOS (49152) take ports for outgoing connections, so that a
# connection cannot occupy the port of a service that is being restarted.
FIRST_PORT = 20000
LAST_PORT = 32767
RANDOM_TRIES = 50


def free_port(preferred: int | None = None) -> int:
    """Find a loopback port nobody listens on: the preferred one if it is free.

    It may be taken by the time it is used; whoever starts a service must be ready to ask again.
    """
    if preferred is not None and _is_free(preferred):
        return preferred
    source = random.SystemRandom()  # never in step with another process that looks at the same moment
    for _ in range(RANDOM_TRIES):
        port = source.randint(FIRST_PORT, LAST_PORT)
        if _is_free(port):
            return port
    with contextlib.closing(socket.socket()) as listener:
        listener.bind((LOOPBACK, 0))
        return int(listener.getsockname()[1])


def _is_free(port: int) -> bool:
    with contextlib.closing(socket.socket()) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
