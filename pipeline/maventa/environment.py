"""Where the operator's four services stand. Knows nothing of tokens or of what is asked there."""

import ipaddress
from dataclasses import dataclass
from typing import Self

import httpx

from pipeline.domain.errors import ConfigurationError
from pipeline.settings import Installation

OPERATOR_DOMAIN = "maventa.com"
STAGE_SUFFIX = "-stage"


@dataclass(frozen=True, kw_only=True)
class OperatorHosts:
    """Base URLs of the four services, without a trailing slash. One token serves all (contract, hosts)."""

    ax: str
    receivables: str
    validator: str
    bling: str

    @classmethod
    def of(cls, installation: Installation, *, override_url: str | None = None) -> Self:
        """Name the hosts of an installation, or one base URL for all four (a simulator).

        Raises: ConfigurationError when the override is no http or https URL with a host, or belongs to the other
        installation.
        """
        if override_url is not None:
            base = _checked(override_url)
            _require_fitting(installation, base)
            return cls(ax=base, receivables=base, validator=base, bling=base)
        stage = "" if installation is Installation.PRODUCTION else "-stage"
        return cls(
            ax=f"https://ax{stage}.maventa.com",
            receivables=f"https://receivables{stage}.maventa.com",
            validator=f"https://validator{stage}.maventa.com",
            bling=f"https://bling{stage}.maventa.com",
        )


def _checked(override_url: str) -> str:
    try:
        url = httpx.URL(override_url)
    except httpx.InvalidURL as exc:
        raise ConfigurationError(f"the operator URL {override_url!r} cannot be read: {exc}") from exc
    if url.userinfo:
        raise ConfigurationError("the operator URL must not carry a user name or password")
    # httpx lets through ports that no socket has, and the fast transport then raises ValueError at the first call.
    port_exists = url.port is None or 0 < url.port < 2**16
    if url.scheme not in {"http", "https"} or not url.host or not port_exists or url.query or url.fragment:
        raise ConfigurationError(f"the operator URL must look like https://host or http://host:port: {override_url!r}")
    return str(url).rstrip("/")


def _require_fitting(installation: Installation, base: str) -> None:
    """Refuse a test installation at a production host, and a production one at a simulator or test host."""
    url = httpx.URL(base)
    host = url.host.rstrip(".").lower()
    theirs = host == OPERATOR_DOMAIN or host.endswith(f".{OPERATOR_DOMAIN}")
    stage = theirs and host.removesuffix(OPERATOR_DOMAIN).rstrip(".").endswith(STAGE_SUFFIX)
    if installation is Installation.TEST and theirs and not stage:
        raise ConfigurationError(
            f"a test installation must not talk to the production host {host}: leave POSTILJON_OPERATOR_URL unset, "
            "or set POSTILJON_INSTALLATION=production"
        )
    if installation is Installation.PRODUCTION and (stage or url.scheme != "https" or _is_here(host)):
        raise ConfigurationError(
            f"a production installation must not talk to {base}: a simulator, a test host or a line without TLS would "
            "take its invoices for nothing; leave POSTILJON_OPERATOR_URL unset, or set POSTILJON_INSTALLATION=test"
        )


def _is_here(host: str) -> bool:
    """Tell whether a host is this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified
