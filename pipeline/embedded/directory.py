"""The private directory of one installation of a service: lock, password and last port.

It belongs to the person who starts the service and is closed to everybody else. What lies in it is the service's.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from pipeline.embedded.errors import EmbeddedServiceError

PASSWORD_BYTES = 24


class ServiceDirectory:
    """A directory that one process at a time may use."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: int | None = None

    def open(self) -> None:
        """Create the directory if need be and take its lock; calling it again does nothing.

        The lock is let go by the kernel when the process ends, however it ends.

        Raises: EmbeddedServiceError when it cannot be created, written, or is in use.
        """
        if self._lock is not None:
            return
        with explained(self.path):
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            raise EmbeddedServiceError(
                f"{self.path} is in use by another running process: stop that one first, or choose another directory."
            ) from error
        self._lock = handle

    def close(self) -> None:
        """Let the lock go; calling it again does nothing."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def password(self) -> str:
        """The password of this installation, generated once and readable by its owner alone."""
        path = self.path / "password"
        with explained(self.path):
            if path.exists() and (known := path.read_text(encoding="ascii").strip()):
                return known
            new = secrets.token_hex(PASSWORD_BYTES)
            self.write("password", new)
            return new

    def last_port(self) -> int | None:
        """The port of the last start, so that addresses people wrote down stay valid."""
        with contextlib.suppress(OSError, ValueError):
            return int((self.path / "port").read_text(encoding="ascii"))
        return None

    def write(self, name: str, content: str) -> Path:
        """Replace a small private file as a whole and return its path."""
        path, draft = self.path / name, self.path / f".{name}.new"
        with explained(self.path):
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(content)
            draft.replace(path)
        return path


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an operating system's error about the directory into one line that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            message = f"The disk that holds {path} is full: free some space and start again."
        elif error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            message = f"{path} cannot be written by user {os.geteuid()}: choose another directory or correct its owner."
        else:
            message = f"{path} cannot be used: {error.strerror or error}."
        raise EmbeddedServiceError(message) from error
