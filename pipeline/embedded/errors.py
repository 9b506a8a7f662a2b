"""What can go wrong when services are run on one machine; every message is one line for a person."""

from __future__ import annotations

from pipeline.domain.errors import ServiceUnavailableError


class EmbeddedServiceError(ServiceUnavailableError):
    """A service of this machine could not be run; the message says which, why and what to do."""


class PortTakenError(EmbeddedServiceError):
    """Another process listens on the port that was chosen; another port may do."""


class StillInUseError(EmbeddedServiceError):
    """Parts of the last run of a server that was killed have not ended yet; they soon will."""
