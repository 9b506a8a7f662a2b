"""One setting decides where all four services of the operator stand."""

import pytest

from pipeline.domain.errors import ConfigurationError
from pipeline.maventa.environment import OperatorHosts
from pipeline.settings import Installation


@pytest.mark.parametrize(
    ("installation", "stage"),
    [(Installation.TEST, "-stage"), (Installation.PRODUCTION, "")],
    ids=["test", "production"],
)
def test_installation_names_all_four_hosts(installation: Installation, stage: str) -> None:
    hosts = OperatorHosts.of(installation)

    assert hosts == OperatorHosts(
        ax=f"https://ax{stage}.maventa.com",
        receivables=f"https://receivables{stage}.maventa.com",
        validator=f"https://validator{stage}.maventa.com",
        bling=f"https://bling{stage}.maventa.com",
    )


def test_one_address_stands_in_for_all_four() -> None:
    hosts = OperatorHosts.of(Installation.TEST, override_url="http://127.0.0.1:8080/")

    assert {hosts.ax, hosts.receivables, hosts.validator, hosts.bling} == {"http://127.0.0.1:8080"}


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8080",
        "ftp://host",
        "http://",
        "http://host:99999",
        "http://host:0",
        "https://u:p@host",
        "http://u:p@host:99999",
        "http://h/?a=1",
    ],
)
def test_useless_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        OperatorHosts.of(Installation.TEST, override_url=url)

    assert "u:p" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://ax.maventa.com",
        "https://AX.Maventa.com./",
        "http://receivables.maventa.com:8080",
        "https://maventa.com",
    ],
)
def test_test_installation_refuses_production_hosts(url: str) -> None:
    with pytest.raises(ConfigurationError, match="test installation must not"):
        OperatorHosts.of(Installation.TEST, override_url=url)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8099",
        "https://127.0.0.1:8099",
        "https://localhost",
        "https://[::1]:1",
        "https://0.0.0.0",
        "http://simulator:8099",
        "http://proxy.example.com",
        "https://ax-stage.maventa.com",
    ],
)
def test_production_refuses_simulators_and_test_hosts(url: str) -> None:
    with pytest.raises(ConfigurationError, match="production installation must not"):
        OperatorHosts.of(Installation.PRODUCTION, override_url=url)


@pytest.mark.parametrize(
    ("installation", "url"),
    [
        (Installation.TEST, "https://ax-stage.maventa.com"),
        (Installation.TEST, "http://simulator:8099"),
        (Installation.TEST, "https://notmaventa.com"),
        (Installation.PRODUCTION, "https://ax.maventa.com"),
        (Installation.PRODUCTION, "https://proxy.example.com"),
    ],
)
def test_fitting_address_is_taken(installation: Installation, url: str) -> None:
    assert OperatorHosts.of(installation, override_url=url).ax == url
