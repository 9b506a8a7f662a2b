"""Every setting of an installation, from the environment or the state folder's file. Knows nothing of who uses them."""

import os
from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from pipeline.domain.errors import ConfigurationError, InvalidInputError
from pipeline.domain.retention import LEAST_MONTHS, MOST_MONTHS, Keep
from pipeline.domain.retry import DEFAULT_WAITS_SECONDS, RetrySchedule

ENVIRONMENT_FILE_NAME = "postiljon.env"
"""Written by `postiljon up` into the state folder, mode 0600; real environment variables win over it."""

MIB = 1024 * 1024
LONGEST_DRAIN_SECONDS = 10.0
"""With some seconds to record and close, below what any supervisor of ours waits before it kills (20 s; 30 s in
docker-compose.yml)."""
SHORTEST_INSTANCE_KEY_BYTES = 16
"""128 bits, if they are random."""


class Installation(StrEnum):
    """Which operator an installation talks to."""

    TEST = "test"
    PRODUCTION = "production"


class Settings(BaseSettings):
    """Settings by name; each has the environment variable POSTILJON_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="POSTILJON_", extra="ignore", frozen=True)

    installation: Installation = Installation.TEST
    database_url: str | None = None
    broker_url: SecretStr | None = None
    operator_url: str | None = None
    """Instead of the operator's own hosts: one base URL for all four services (a simulator)."""
    encryption_key: SecretStr | None = None
    encryption_key_file: Path | None = None
    """Fernet keys, one a line, the newest first; older ones still open what they closed."""
    instance_key: SecretStr | None = None
    instance_key_file: Path | None = None
    """Random text that only this installation has (docs/arming.md); a copy of the database without it sends nothing."""

    chunk_invoices: int = Field(default=100, ge=1, le=1000)
    """Design section 5: from 100 on Celery's cost per message vanishes; the operator reads 100 ids a call."""
    chunk_bytes: int = Field(default=16 * MIB, ge=1)
    """A worker holds one chunk of documents in memory."""
    window_chunks: int = Field(default=8, ge=1)
    """How many chunks may be with workers or on their way; more would only wait in the broker, out of turn."""
    dispatch_lease_seconds: float = Field(default=15.0, gt=0)
    """How long a published chunk may wait for a worker before it is dispatched anew."""
    claim_lease_seconds: float = Field(default=30.0, gt=0)
    """How long a claim stands without a heartbeat; then the sweep turns it into a probe."""
    drain_seconds: float = Field(default=8.0, ge=0, le=LONGEST_DRAIN_SECONDS)
    """How long a worker that is asked to end waits for what is in the air; then it hands back the rest."""
    poison_deaths: int = Field(default=5, ge=2)
    """So many times nobody lived to tell what became of an invoice's processing: then it is set aside for a person."""
    dispatch_interval_seconds: float = Field(default=1.0, gt=0)
    follow_interval_seconds: float = Field(default=5.0, gt=0)
    hold_check_seconds: float = Field(default=60.0, gt=0)

    connect_timeout_seconds: float = Field(default=10.0, gt=0)
    read_timeout_seconds: float = Field(default=60.0, gt=0)
    """Contract section 8: clients in the wild use 10 to 120 s; a ZIP can be slow."""
    write_timeout_seconds: float = Field(default=60.0, gt=0)
    pool_timeout_seconds: float = Field(default=30.0, gt=0)
    upload_concurrency: int = Field(default=200, ge=1)
    """Uploads in the air per process."""
    straggler_seconds: float = Field(default=0.5, gt=0)
    """How long a worker waits for the last answers of a chunk before it takes the next one beside them."""

    uploads_per_second: float | None = Field(default=None, gt=0)
    """The fleet's limit of uploads to the operator's host. None: unknown, found out by what it refuses (429)."""
    reads_per_second: float | None = Field(default=None, gt=0)
    """The same for everything that only asks."""
    company_uploads_per_second: float | None = Field(default=None, gt=0)
    """The limit of each company that has none of its own (postiljon company limit)."""
    company_reads_per_second: float | None = Field(default=None, gt=0)

    circuit_failures: int = Field(default=10, ge=2)
    """So many failures, and hardly an answer among them, open a circuit."""
    circuit_wait_seconds: float = Field(default=5.0, gt=0)
    """How long a circuit stays open before one canary asks; doubled each time the canary fails ..."""
    circuit_longest_wait_seconds: float = Field(default=300.0, gt=0)
    """... up to this."""

    liveness_seconds: float = Field(default=60.0, gt=0)
    """A worker that takes nothing for so long while its queue has messages ends itself; its supervisor starts it."""
    oldest_age_seconds: float = Field(default=300.0, gt=0)
    """Work due for longer than this, and growing older, raises an alarm."""

    retry_waits_seconds: Annotated[tuple[float, ...], NoDecode] = DEFAULT_WAITS_SECONDS
    retry_budget_seconds: float = Field(default=7 * 24 * 3600.0, gt=0)
    absence_settle_seconds: float = Field(default=30.0, ge=0)

    look_waits_seconds: Annotated[tuple[float, ...], NoDecode] = (2.0, 5.0, 15.0, 60.0, 300.0, 3600.0)
    """The age curve of looks at an accepted invoice: each wait begins where the last one ended; the last repeats."""
    delivered_looks_seconds: float = Field(default=6 * 3600.0, gt=0)
    """DELIVERED may turn FAILED days later (contract section 3): how often we still look ..."""
    delivered_days: float = Field(default=14.0, ge=0)
    """... and for how many days."""

    keep_delivered_months: int | None = Field(default=None, ge=LEAST_MONTHS, le=MOST_MONTHS)
    """Records of what was delivered are dropped so many whole months after they were put away. None: kept for ever."""
    keep_failed_months: int | None = Field(default=None, ge=LEAST_MONTHS, le=MOST_MONTHS)
    """The same for what failed, was refused, cancelled or superseded."""
    keep_documents_months: int | None = Field(default=None, ge=LEAST_MONTHS, le=MOST_MONTHS)
    """The same for documents, but for those of failures. None: as long as the record."""

    backup_look_seconds: float = Field(default=24 * 3600.0, gt=0)
    """Everything open is asked about once in so long, whatever the webhooks and the age curve did."""
    watch_interval_seconds: float = Field(default=15.0, gt=0)
    """How often alarms are looked for and counters folded."""
    poll_silence_seconds: float = Field(default=900.0, gt=0)
    """A company about whose invoices nothing could be learned for so long raises an alarm."""

    routing_file: Path | None = None
    """The rules of routing (docs/routing.md); without it a person decides every case."""
    route_interval_seconds: float = Field(default=5.0, gt=0)
    reroute_settle_seconds: float = Field(default=120.0, ge=0)
    """How long a reroute that got no clear answer may take to show at the operator before it counts as not done."""
    webhook_url: str | None = None
    """Where the operator reaches this installation's webhook receiver, without the path: https://hooks.example.com"""

    points_folder: Path | None = None
    """For `postiljon chaos` alone: a process that reaches a point named by a file in it ends there (kill -9)."""

    max_document_bytes: int = Field(default=150 * MIB, ge=1)

    @field_validator("retry_waits_seconds", "look_waits_seconds", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _keep_in_order(self) -> Self:
        try:
            self.keep.check()
        except InvalidInputError as exc:
            raise ValueError(f"POSTILJON_KEEP_..._MONTHS: {exc}") from exc
        return self

    @property
    def keep(self) -> Keep:
        """How long what is finished is kept where a company has no months of its own."""
        return Keep(
            delivered=self.keep_delivered_months, failed=self.keep_failed_months, documents=self.keep_documents_months
        )

    @cached_property
    def schedule(self) -> RetrySchedule:
        """The retry schedule as the domain knows it."""
        return RetrySchedule(
            waits_seconds=self.retry_waits_seconds,
            budget_seconds=self.retry_budget_seconds,
            absence_settle_seconds=self.absence_settle_seconds,
            first_look_seconds=self.look_waits_seconds[0],
            poison_deaths=self.poison_deaths,
        )

    def require_database_url(self) -> str:
        """Return the database URL. Raises: ConfigurationError when none is set."""
        if not self.database_url:
            raise ConfigurationError("no database: run `postiljon up`, or set POSTILJON_DATABASE_URL")
        return self.database_url

    def require_broker_url(self) -> str:
        """Return the broker URL. Raises: ConfigurationError when none is set."""
        if self.broker_url is None:
            raise ConfigurationError("no broker: run `postiljon up`, or set POSTILJON_BROKER_URL")
        return self.broker_url.get_secret_value()

    def require_encryption_keys(self) -> tuple[str, ...]:
        """Return the Fernet keys, newest first. There is no default.

        Raises: ConfigurationError when none is set or the file cannot be read.
        """
        if self.encryption_key is not None:
            return (self.encryption_key.get_secret_value(),)
        if self.encryption_key_file is None:
            raise ConfigurationError(
                "no encryption key for the operator keys: set POSTILJON_ENCRYPTION_KEY_FILE or POSTILJON_ENCRYPTION_KEY"
            )
        try:
            lines = self.encryption_key_file.read_text(encoding="ascii").split()
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigurationError(f"cannot read the encryption key file {self.encryption_key_file}: {exc}") from exc
        if not lines:
            raise ConfigurationError(f"the encryption key file {self.encryption_key_file} is empty")
        return tuple(lines)

    def read_instance_key(self) -> bytes | None:
        """Return what sending from here is bound to, None when none is set.

        Raises: ConfigurationError when the file cannot be read or the key is too short.
        """
        if self.instance_key is not None:
            key = self.instance_key.get_secret_value().strip().encode()
        elif self.instance_key_file is not None:
            try:
                key = self.instance_key_file.read_bytes().strip()
            except OSError as exc:
                raise ConfigurationError(f"cannot read the instance key file {self.instance_key_file}: {exc}") from exc
        else:
            return None
        if len(key) < SHORTEST_INSTANCE_KEY_BYTES:
            raise ConfigurationError("the instance key is too short: postiljon key new makes one")
        return key


def state_directory() -> Path:
    """Return the folder of the embedded form: POSTILJON_STATE_DIR, or one below the user's home."""
    named = os.environ.get("POSTILJON_STATE_DIR")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "postiljon"


def load_settings(environment_file: Path | None = None) -> Settings:
    """Read the settings from the environment, then from a file (the state folder's unless named).

    Raises: ConfigurationError naming the first setting that is wrong.
    """
    path = environment_file or state_directory() / ENVIRONMENT_FILE_NAME
    try:
        return Settings(_env_file=path)
    except ValidationError as exc:
        raise _explained(exc) from exc
    except OSError as exc:
        raise ConfigurationError(f"cannot read {path}: {exc.strerror}") from exc


def settings_from(variables: Mapping[str, str]) -> Settings:
    """Read the settings from POSTILJON_ variables given here; they win over the environment.

    Raises: ConfigurationError naming the first setting that is wrong.
    """
    given = {name.removeprefix("POSTILJON_").lower(): value for name, value in variables.items()}
    try:
        return Settings.model_validate(given)
    except ValidationError as exc:
        raise _explained(exc) from exc


def _explained(exc: ValidationError) -> ConfigurationError:
    first = exc.errors()[0]
    if not first["loc"]:  # several settings that contradict each other
        return ConfigurationError(str(first["msg"]).removeprefix("Value error, "))
    name = "_".join(str(part) for part in first["loc"]).upper()
    return ConfigurationError(f"POSTILJON_{name}: {first['msg']}")
