"""Checks requests and answers against the published specification, when asked to. So far it only counts."""

from pathlib import Path

from simulator.exchange import Answer, Call, Endpoint


class Validator:
    """What was checked and what was wrong."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.requests = 0
        self.answers = 0

    def check_request(self, _endpoint: Endpoint, _call: Call) -> None:
        """Check a request."""
        self.requests += 1

    def check_answer(self, _endpoint: Endpoint, _answer: Answer) -> None:
        """Check an answer."""
        self.answers += 1

    def note_unknown(self, _method: str, _path: str) -> None:
        """Note a request to a path that does not exist."""
        self.requests += 1

    def shown(self) -> dict[str, object]:
        """Write what was checked."""
        return {"checked": {"requests": self.requests, "answers": self.answers}, "requests": [], "answers": []}


def violations_endpoint(validator: Validator | None) -> Endpoint:
    """Offer GET /_simulator/violations."""
    return Endpoint("GET", "/_simulator/violations", lambda _: Answer(body=validator.shown() if validator else {}))
