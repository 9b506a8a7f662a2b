"""What docker-compose.yml promises: no default password, nothing published, the processes and settings of `postiljon up`."""

import re
from pathlib import Path

import pytest

from pipeline.cli.stack import STOP_SECONDS, Stack, StackPlan
from pipeline.embedded.process import ProcessSpec
from pipeline.services.send import RECORD_SECONDS
from pipeline.settings import LONGEST_DRAIN_SECONDS, Settings
from tests.unit.deploy.compose_file import Node, read_compose
from workers.lifecycle import CLOSE_SECONDS

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
COMPOSE = read_compose(ROOT / "docker-compose.yml")
SECRETS = ("POSTGRES_PASSWORD", "VALKEY_PASSWORD", "FLOWER_BASIC_AUTH")
NOT_IN_CONTAINERS = {"POINTS_FOLDER", "ENCRYPTION_KEY", "INSTANCE_KEY"}
"""The keys come by file alone: an environment is shown by docker inspect. The folder is for `postiljon chaos` alone."""


def mapping(node: Node) -> dict[str, Node]:
    assert isinstance(node, dict)
    return node


def words(node: Node) -> list[str]:
    assert isinstance(node, list)
    return [str(word) for word in node]


SERVICES = {name: mapping(node) for name, node in mapping(COMPOSE["services"]).items()}
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
LONG_RUNNING = {name: service for name, service in SERVICES.items() if name not in {"migrate", "cli"}}


def test_parts_are_those_of_the_issue() -> None:
    """Everything the product needs is a service, and only those."""
    expected = {"postgres", "valkey", "migrate", "send", "pump", "follow", "beat", "web", "flower", "cli", "simulator"}

    assert set(SERVICES) == expected


@pytest.mark.parametrize("name", SECRETS)
def test_start_is_refused_without_a_password(name: str) -> None:
    """No password has a default: each use of one refuses to start without it."""
    uses = re.findall(r"(?<!\$)\$\{" + name + r"([^}]*)\}", TEXT)

    assert uses
    assert all(use.startswith(":?") for use in uses)


def test_example_carries_no_secret() -> None:
    """The example names every secret and gives none of them a value."""
    lines = (ROOT / "deploy" / "postiljon.env.example").read_text(encoding="utf-8").splitlines()

    assert [line for line in lines if line.partition("=")[0] in SECRETS] == [f"{name}=" for name in SECRETS]


def test_ports_are_published_on_loopback_only() -> None:
    """Nothing can be reached from another machine."""
    published = {name: words(service["ports"]) for name, service in SERVICES.items() if "ports" in service}

    assert set(published) == {"web", "flower", "simulator"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_stores_stay_on_a_network_without_a_way_out() -> None:
    """Database and broker are on the internal network alone."""
    assert mapping(mapping(COMPOSE["networks"])["stores"])["internal"] == "true"
    assert SERVICES["postgres"]["networks"] == SERVICES["valkey"]["networks"] == ["stores"]


@pytest.mark.parametrize("name", SERVICES)
def test_containers_may_do_little(name: str) -> None:
    """Read-only root filesystem, no capability, no way to new privileges, logs of bounded size."""
    service = SERVICES[name]

    assert service["read_only"] == "true"
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "max-size" in mapping(mapping(service["logging"])["options"])
    assert "privileged" not in service


@pytest.mark.parametrize("name", LONG_RUNNING)
def test_long_running_services_are_watched_and_restarted(name: str) -> None:
    """Each has a health check and comes back by itself."""
    service = LONG_RUNNING[name]

    assert mapping(service["healthcheck"])["test"]
    assert service["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", SERVICES)
def test_no_secret_stands_on_a_command_line(name: str) -> None:
    """Compose puts no secret into a command; the shell of Valkey reads it from its environment."""
    command = " ".join(words(SERVICES[name].get("command") or []))

    assert not re.search(r"(?<!\$)\$\{?(POSTGRES|VALKEY|FLOWER_BASIC)", command)
    assert not re.search(r"valkey-server[^\n]*PASSWORD", command)


def test_workers_wait_for_stores_and_tables() -> None:
    """No worker starts before database, broker and migration are there."""
    expected = {
        "postgres": {"condition": "service_healthy"},
        "valkey": {"condition": "service_healthy"},
        "migrate": {"condition": "service_completed_successfully"},
    }

    assert SERVICES["send"]["depends_on"] == SERVICES["pump"]["depends_on"] == expected


def test_stopping_leaves_time_for_the_drain() -> None:
    """Workers get more than the longest drain with its ending, in the embedded form and no less in this one."""
    ending = RECORD_SECONDS + CLOSE_SECONDS
    grace = float(str(SERVICES["send"]["stop_grace_period"]).removesuffix("s"))

    assert grace >= STOP_SECONDS > LONGEST_DRAIN_SECONDS + ending


def test_valkey_keeps_what_it_is_told() -> None:
    """The broker has the settings of the embedded one: on disk each second, nothing thrown away, a password."""
    command = words(SERVICES["valkey"]["command"])[-1]

    for line in ("appendonly yes", "appendfsync everysec", "maxmemory-policy noeviction", 'save ""', "requirepass $$"):
        assert line in command


def test_data_outlives_containers() -> None:
    """Both stores keep their data in named volumes, PostgreSQL 18 at the folder its image expects."""
    assert SERVICES["postgres"]["volumes"] == ["postgres:/var/lib/postgresql"]
    assert SERVICES["valkey"]["volumes"] == ["valkey:/data"]
    assert set(mapping(COMPOSE["volumes"])) == {"postgres", "valkey"}


@pytest.mark.parametrize("name", ["send", "pump", "follow", "cli"])
def test_every_setting_reaches_workers(name: str) -> None:
    """What can be set in the embedded form can be set here, by the same name."""
    environment = mapping(SERVICES[name]["environment"])

    expected = {
        f"POSTILJON_{field.upper()}" for field in Settings.model_fields if field.upper() not in NOT_IN_CONTAINERS
    }

    assert {key for key in environment if key.startswith("POSTILJON_")} == expected, "name it under x-settings"


@pytest.mark.parametrize("name", ["beat", "flower", "simulator"])
def test_services_hold_only_the_secrets_they_use(name: str) -> None:
    """Beat, Flower and the simulator have neither the database's password nor a key."""
    service = SERVICES[name]

    environment = mapping(service.get("environment") or {})

    keys = {"POSTILJON_ENCRYPTION_KEY_FILE", "POSTILJON_INSTANCE_KEY_FILE"}
    assert not {"PGPASSWORD", "POSTILJON_DATABASE_URL", *keys} & set(environment)
    assert "secrets" not in service


@pytest.mark.parametrize("name", ["migrate", "send", "pump", "follow", "cli"])
def test_who_arms_and_sends_has_the_instance_key(name: str) -> None:
    """The instance key comes as a secret file, never from the database, and to those who need it."""
    service = SERVICES[name]

    assert mapping(service["environment"])["POSTILJON_INSTANCE_KEY_FILE"] == "/run/secrets/instance_key"
    assert "instance_key" in service["secrets"]


def test_migration_arms_for_the_settings_of_workers() -> None:
    """What arms a fresh installation sees the same environment and operator as what sends."""
    arming, sending = (mapping(SERVICES[name]["environment"]) for name in ("migrate", "send"))

    for name in ("POSTILJON_INSTALLATION", "POSTILJON_OPERATOR_URL"):
        assert name in arming
        assert arming[name] == sending[name]


def test_receiver_holds_the_database_alone() -> None:
    """What the internet reaches has neither the encryption key nor the broker: it could send nothing."""
    environment = mapping(SERVICES["web"]["environment"])

    assert "POSTILJON_DATABASE_URL" in environment
    assert not {"POSTILJON_BROKER_URL", "POSTILJON_ENCRYPTION_KEY_FILE", "POSTILJON_INSTANCE_KEY_FILE"} & set(
        environment
    )
    assert "secrets" not in SERVICES["web"]
    assert words(mapping(SERVICES["web"]["healthcheck"])["test"])[-1].endswith("/health")


def test_receiver_is_the_one_of_the_embedded_form(tmp_path: Path) -> None:
    """The container runs the command that `postiljon up` runs, apart from where it listens."""
    embedded = embedded_commands(tmp_path)["web"][1:]
    container = words(SERVICES["web"]["command"])[1:]

    assert container[:2] == list(embedded[:2]) == ["-m", "web"]
    assert container[2::2] == list(embedded[2::2])


def test_every_queue_has_a_worker() -> None:
    """No task waits in a queue that nobody reads."""
    commands = [words(SERVICES[name]["command"]) for name in ("send", "pump", "follow")]
    read = {queue for command in commands for queue in command[command.index("-Q") + 1].split(",")}

    assert read == {"dispatch", "send", "express", "poll", "route"}


def test_as_many_beats_as_asked_for(tmp_path: Path) -> None:
    """The embedded form can run several beats, and can do without the receiver."""
    processes = embedded_commands(tmp_path, beats=2, web=False)

    assert processes["beat"] == processes["beat-2"]
    assert "web" not in processes


@pytest.mark.parametrize(
    ("service", "process"),
    [
        ("send", "worker-send"),
        ("pump", "worker-pump"),
        ("follow", "worker-follow"),
        ("beat", "beat"),
        ("flower", "flower"),
    ],
)
def test_processes_are_those_of_the_embedded_form(service: str, process: str, tmp_path: Path) -> None:
    """Each container runs the very command that `postiljon up` runs, apart from where Flower listens."""
    embedded = [
        word for word in embedded_commands(tmp_path)[process][3:] if "--address" not in word and "--port" not in word
    ]

    container = [re.sub(r"\$\{\w+:-(.*)\}", r"\1", word) for word in words(SERVICES[service]["command"])[1:]]

    assert [word for word in container if "--address" not in word and "--port" not in word] == embedded


class Store:
    """Stands for a server that was prepared."""

    def as_process(self) -> ProcessSpec:
        return ProcessSpec(name="store", command=("true",))


def embedded_commands(state_dir: Path, **plan: object) -> dict[str, tuple[str, ...]]:
    stack = Stack(StackPlan(state_dir=state_dir, **plan))
    stack._postgres = stack._valkey = Store()
    stack.urls = {"flower": "http://127.0.0.1:5555", "web": "http://127.0.0.1:8098"}
    stack.flower_login = "login"
    return {spec.name: tuple(spec.command) for spec in stack._specifications()}


@pytest.mark.parametrize("name", OURS)
def test_our_services_share_one_image_and_an_init(name: str) -> None:
    """One image for all, an init that passes signals on and buries the dead, and a writable /tmp in memory."""
    service = OURS[name]

    assert service["image"] == OURS["send"]["image"]
    assert service["init"] == "true"
    assert "/tmp" in words(service["tmpfs"])[0]
