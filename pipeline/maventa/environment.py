"""Where the operator's four services stand. Knows nothing of tokens or of what is asked there."""

from dataclasses import dataclass
from typing import Self

import httpx

from pipeline.domain.errors import ConfigurationError
from pipeline.settings import Installation


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

        Raises: ConfigurationError when the override is no http or https URL with a host.
        """
        if override_url is not None:
            base = _checked(override_url)
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
