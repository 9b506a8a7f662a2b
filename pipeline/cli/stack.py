"""The whole product on one machine: which processes there are, in which order, with which settings.

Everything is started by its command line; nothing of workers or the simulator is imported here.
"""

import os
import secrets
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from pipeline.domain.errors import ConfigurationError, ServiceUnavailableError
from pipeline.embedded.ports import free_port
from pipeline.embedded.postgres import EmbeddedPostgres
from pipeline.embedded.process import ProcessSpec
from pipeline.embedded.state import ProcessState
from pipeline.embedded.supervisor import Supervisor
from pipeline.embedded.valkey import EmbeddedValkey
from pipeline.settings import ENVIRONMENT_FILE_NAME
from pipeline.storage.vault import new_key

CELERY = (sys.executable, "-m", "celery", "-A", "workers.app")
POSTILJON = (sys.executable, "-m", "workers.console")
QUIET = ("--without-gossip", "--without-mingle", "--loglevel", "INFO")
FLOWER_COLUMNS = "name,uuid,state,kwargs,result,received,runtime,worker"
FAULT_SCRIPTS = (
    *("calm", "everyday", "storm", "accept-then-silence", "reset-after-accept", "lying-500", "mixed-failures"),
)
KEY_FILE_NAME = "encryption.key"
INSTANCE_KEY_FILE_NAME = "instance.key"
STOP_SECONDS = 20.0
"""Above the drain of the workers (workers/lifecycle.py), so that what is in the air is finished first."""


LONGEST_PAUSE_SECONDS = 5.0
"""A worker that its broker drove out again and again comes back this soon after the last time."""


@dataclass(frozen=True, kw_only=True)
class StackPlan:
    """What to run beside PostgreSQL and Valkey."""

    state_dir: Path
    send_processes: int = 3
    """One more than two cores: while one waits for the operator or the database, the others use them (bench/)."""
    pump_processes: int = 1
    """One pumps at a time anyway: the others would find its lease."""
    follow_processes: int = 2
    """Following and routing take their time; nothing that must be sent waits behind them."""
    beats: int = 1
    """More than one is never needed and does no harm: the ticks are leased in the database."""
    web: bool = True
    """Whether the webhook receiver runs."""
    flower: bool = True
    """Whether Flower runs; nothing needs it, and a bench has nobody to look."""
    simulator_arguments: tuple[str, ...] | None = None
    """None runs no simulator: the operator is the real one."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """POSTILJON_ variables that differ from the defaults."""


class Stack:
    """The prepared processes of one plan; a context manager that starts and ends them all.

    Raises: EmbeddedServiceError in one line when something does not come up; nothing is left running then.
    """

    def __init__(self, plan: StackPlan) -> None:
        self._plan = plan
        self._postgres = EmbeddedPostgres(plan.state_dir / "postgres")
        self._valkey = EmbeddedValkey(plan.state_dir / "valkey")
        self._supervisor: Supervisor | None = None
        self.urls: dict[str, str] = {}
        self.environment: dict[str, str] = {}

    def prepare(self) -> Supervisor:
        """Make files, keys and ports; return the supervisor that runs it all."""
        self._plan.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._postgres.prepare()
        self._valkey.prepare()
        self.urls = {"flower": f"http://127.0.0.1:{free_port()}"}
        if self._plan.web:
            self.urls["web"] = f"http://127.0.0.1:{free_port()}"
        if self._plan.simulator_arguments is not None:
            self.urls["simulator"] = f"http://127.0.0.1:{free_port()}"
        self.flower_login = f"postiljon:{secrets.token_urlsafe(12)}"
        self.environment = self._environment()
        self._write_environment_file()
        self._supervisor = Supervisor(self._plan.state_dir, self._specifications(), urls=self.shown_urls)
        return self._supervisor

    @property
    def processes(self) -> tuple[ProcessState, ...]:
        """What runs now."""
        return self._supervisor.state.processes if self._supervisor is not None else ()

    def stop(self) -> None:
        """Stop everything; calling it again does nothing."""
        if self._supervisor is not None:
            self._supervisor.stop()
        self._valkey.stop()
        self._postgres.stop()

    def __enter__(self) -> Self:
        try:
            self.prepare().start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _environment(self) -> dict[str, str]:
        key_file = _key_file(self._plan.state_dir / KEY_FILE_NAME)
        instance_key_file = _key_file(self._plan.state_dir / INSTANCE_KEY_FILE_NAME)
        environment = {
            "POSTILJON_STATE_DIR": str(self._plan.state_dir.resolve()),
            "POSTILJON_DATABASE_URL": self._postgres.url,
            "POSTILJON_BROKER_URL": self._valkey.url,
            "POSTILJON_ENCRYPTION_KEY_FILE": str(key_file.resolve()),
            "POSTILJON_INSTANCE_KEY_FILE": str(instance_key_file.resolve()),
            **self._plan.settings,
        }
        if "simulator" in self.urls:
            environment["POSTILJON_OPERATOR_URL"] = self.urls["simulator"]
            # The real operator cannot reach loopback, and its webhook URL is for a person to set.
            if "web" in self.urls and "POSTILJON_WEBHOOK_URL" not in os.environ:
                environment.setdefault("POSTILJON_WEBHOOK_URL", self.urls["web"])
        return environment

    def _write_environment_file(self) -> None:
        path = self._plan.state_dir / ENVIRONMENT_FILE_NAME
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        lines = [f"{name}='{value}'\n" for name, value in self.environment.items()]
        path.write_text("".join(lines), encoding="utf-8")

    @property
    def shown_urls(self) -> dict[str, str]:
        """The addresses for people, with the login where one is needed."""
        login, host = self.flower_login, self.urls["flower"].removeprefix("http://")
        return {**self.urls, "flower": f"http://{login}@{host}"}

    def _specifications(self) -> list[ProcessSpec]:
        specifications = [self._postgres.as_process(), self._valkey.as_process()]
        specifications.append(self._process("migrate", (*POSTILJON, "db", "upgrade"), one_shot=True))
        if self._plan.simulator_arguments is not None:
            specifications.append(self._simulator())
        specifications += [
            self._worker("send", "send,express", self._plan.send_processes),
            self._worker("pump", "dispatch", self._plan.pump_processes),
            self._worker("follow", "poll,route", self._plan.follow_processes),
            *(self._beat(number) for number in range(1, self._plan.beats + 1)),
        ]
        if self._plan.web:
            specifications.append(self._web())
        return [*specifications, *([self._flower()] if self._plan.flower else [])]

    def _beat(self, number: int) -> ProcessSpec:
        name = "beat" if number == 1 else f"beat-{number}"
        process = self._process(name, (*CELERY, "beat", "--loglevel", "INFO", "--pidfile="))
        return replace(process, beside_previous=number > 1)

    def _web(self) -> ProcessSpec:
        url = self.urls["web"]
        port = url.rpartition(":")[2]
        process = self._process("web", (sys.executable, "-m", "web", "--host", "127.0.0.1", "--port", port))
        return replace(process, ready=lambda: answers(f"{url}/health"), beside_previous=True)

    def _process(self, name: str, command: tuple[str, ...], *, one_shot: bool = False) -> ProcessSpec:
        return ProcessSpec(
            name=name,
            command=command,
            environment=self.environment,
            directory=self._plan.state_dir,
            one_shot=one_shot,
            ready_seconds=60.0,
            stop_seconds=STOP_SECONDS,
            longest_pause_seconds=LONGEST_PAUSE_SECONDS,
        )

    def _worker(self, name: str, queues: str, processes: int) -> ProcessSpec:
        command = (*CELERY, "worker", "-n", f"{name}@%h", "-Q", queues, "-c", str(processes), "-P", "prefork", *QUIET)
        return replace(self._process(f"worker-{name}", command), ready_text=" ready.", beside_previous=name != "send")

    def _simulator(self) -> ProcessSpec:
        url = self.urls["simulator"]
        port = url.rpartition(":")[2]
        command = (sys.executable, "-m", "simulator", "--port", port, *(self._plan.simulator_arguments or ()))
        return ProcessSpec(
            name="simulator",
            command=command,
            directory=self._plan.state_dir,
            ready=lambda: answers(f"{url}/_simulator/health"),
            ready_seconds=30.0,
            stop_seconds=5.0,
        )

    def _flower(self) -> ProcessSpec:
        port = self.urls["flower"].rpartition(":")[2]
        options = ("--address=127.0.0.1", f"--port={port}", f"--tasks-columns={FLOWER_COLUMNS}", "--read-only")
        # The login goes by environment: command lines can be read by every user of the machine.
        environment = {**self.environment, "FLOWER_BASIC_AUTH": self.flower_login}
        return ProcessSpec(
            name="flower",
            command=(*CELERY, "flower", *options),
            environment=environment,
            directory=self._plan.state_dir,
            beside_previous=True,
            stop_seconds=5.0,
        )


def _key_file(path: Path) -> Path:
    """Return the file, with a fresh key in it if there was none."""
    if not path.exists():
        # Written aside and renamed: a start that is killed here must not leave an empty key behind.
        fresh = path.with_name(f"{path.name}.new")
        fresh.touch(mode=0o600)
        fresh.write_text(new_key() + "\n", encoding="ascii")
        fresh.rename(path)
    return path


def fault_script(named: str) -> str:
    """Return what the simulator takes for a fault script: a name, or the absolute path of a file.

    Raises: ConfigurationError naming the scripts there are.
    """
    if named in FAULT_SCRIPTS:
        return named
    path = Path(named)
    if path.is_file():
        return str(path.absolute())
    raise ConfigurationError(
        f"no fault script {named!r}, nor a file of that name; there are {', '.join(FAULT_SCRIPTS)}"
    )


def answers(url: str) -> bool:
    """Tell whether something answers a GET on loopback within two seconds."""
    try:
        with urllib.request.urlopen(url, timeout=2.0) as answer:  # noqa: S310 - the URL is ours
            return bool(answer.status < 500)  # noqa: PLR2004 - below the server errors
    except urllib.error.HTTPError as exc:
        return exc.code < 500  # noqa: PLR2004
    except OSError:
        return False


def require_free(state_dir: Path, *, pid: int | None) -> None:
    """Refuse to start beside a stack that runs in the same folder. Raises: ServiceUnavailableError."""
    if pid is not None:
        raise ServiceUnavailableError(f"postiljon is up already in {state_dir} (process {pid}): postiljon down ends it")
