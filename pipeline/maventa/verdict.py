"""The one verdict table: what an answer or a transport failure proves. Knows nothing of what to do next or of sockets.

First matching row wins. Every status from 100 to 599 and every failure has a row in every phase; what no row foresees
is in doubt.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final

from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.maventa.failure import NOT_SENT, TransportFailureKind

MESSAGE_LIMIT = 500
"""Characters of the operator's message we keep; the column and the screen hold as many."""

UNREADABLE = "unreadable_answer"
"""Our code for an answer that promised success and cannot be used."""

RETRY_AFTER_LIMIT_SECONDS = 24 * 3600.0
"""A longer Retry-After is cut to this: the operator gives no bound, and a clock gone wrong must not stop a company."""


class Phase(StrEnum):
    """What we were doing when the answer came: the same status proves different things."""

    TOKEN = "token"
    """Fetching a token; nothing of an invoice has left."""
    UPLOAD = "upload"
    """POST /v1/invoices."""
    CHANGE = "change"
    """Any other request that changes something: reroutes, notifications."""
    PROBE = "probe"
    """Asking for an invoice by UUID with a token nobody has proven."""
    PROVEN_PROBE = "proven_probe"
    """Asking for an invoice by UUID with the very token that was just proven good for the company's invoices."""
    PROOF = "proof"
    """Asking whose a token is and what it may do."""
    READ = "read"
    """Any other question."""


_UPLOAD = frozenset({Phase.UPLOAD})
_CHANGES = frozenset({Phase.UPLOAD, Phase.CHANGE})
_PROBES = frozenset({Phase.PROBE, Phase.PROVEN_PROBE})
_QUESTIONS = frozenset({*_PROBES, Phase.PROOF, Phase.READ})
_TOKEN = frozenset({Phase.TOKEN})
_PROVEN = frozenset({Phase.PROVEN_PROBE})
_PROOF = frozenset({Phase.PROOF})
_ALL = frozenset(Phase)

COMPANY_TEXTS: Final = re.compile(
    r"\s*(ERROR: )?("
    r"(USER|VENDOR API KEY|GLOBAL) DAILY INVOICE LIMIT \(@?[0-9]+\) REACHED"
    r"|VENDOR API KEY DISABLED|USER NOT ACTIVATED|USER NOT FOUND|USER HAS NO RIGHTS TO COMPANY"
    r"|USER BELONGS TO MULTIPLE COMPANIES, NO COMPANY ID GIVEN|COMPANY NOT FOUND|COMPANY ACCOUNT IS LOCKED"
    r"|COMPANY HAS NOT COMPLETED FIRST TIME WIZARD"
    r")\s*\Z"
)
"""Texts about the company, whatever the status; only as the whole message, since "Recipient company not found" is about
one invoice. Source: contract section 7 (the older interface's error values)."""

_ANY_CODE: Final = re.compile(r"\S")
"""The operator itself spoke: each refusal of its own has a code (contract section 1), a gateway's page has none."""


@dataclass(frozen=True, kw_only=True)
class AnswerRow:
    """One row about an answer: where it applies, and what it then proves."""

    phases: frozenset[Phase]
    first: int
    last: int
    kind: OutcomeKind
    reason: str
    code: re.Pattern[str] | None = None
    """Must be found in the operator's `code`, when given."""
    message: re.Pattern[str] | None = None
    """Must match the operator's `message` from its beginning, when given."""

    def matches(self, phase: Phase, status: int, code: str | None, message: str | None) -> bool:
        """Tell whether the row speaks about this answer."""
        if phase not in self.phases or not self.first <= status <= self.last:
            return False
        if self.code is not None and not self.code.search(code or ""):
            return False
        return self.message is None or bool(self.message.match(message or ""))


def _row(
    phases: frozenset[Phase],
    statuses: int | tuple[int, int],
    kind: OutcomeKind,
    reason: str,
    *,
    code: re.Pattern[str] | None = None,
    message: re.Pattern[str] | None = None,
) -> AnswerRow:
    first, last = statuses if isinstance(statuses, tuple) else (statuses, statuses)
    return AnswerRow(phases=phases, first=first, last=last, kind=kind, reason=reason, code=code, message=message)


K = OutcomeKind
ANSWERS: Final[tuple[AnswerRow, ...]] = (
    _row(_ALL, (400, 499), K.UNAUTHORIZED, "the operator stopped this company", message=COMPANY_TEXTS),
    _row(_ALL, 429, K.THROTTLED, "too many requests"),
    _row(_ALL, 503, K.UNAVAILABLE, "the operator is closed for now"),
    # Token: whatever happens here, no invoice has left us.
    _row(_TOKEN, (400, 401), K.UNAUTHORIZED, "the operator does not know these credentials"),
    _row(_TOKEN, 403, K.UNAUTHORIZED, "the operator does not let these credentials in"),
    _row(_TOKEN, 422, K.UNAUTHORIZED, "the operator cannot use these credentials"),
    _row(_TOKEN, (100, 599), K.UNAVAILABLE, "no token came"),
    # The token was good a moment ago, so it has ended meanwhile; the next probe proves another one.
    _row(_PROVEN, 401, K.IN_DOUBT, "the proven token is no longer taken"),
    _row(_PROVEN, 403, K.IN_DOUBT, "the proven token is no longer let in"),
    # The question takes the scope `global` (swagger.json), which a company may do without and send all the same.
    _row(_PROOF, 401, K.IN_DOUBT, "the token may not be asked what it may do"),
    _row(_PROOF, 403, K.IN_DOUBT, "the token may not be asked what it may do"),
    _row(_ALL, 401, K.UNAUTHORIZED, "the operator does not let this company in"),
    _row(_ALL, 403, K.UNAUTHORIZED, "the company lacks the right"),
    # These three say that nobody knows whether the request was worked on.
    _row(_ALL, 408, K.IN_DOUBT, "the operator gave up waiting for the request"),
    _row(_ALL, 425, K.IN_DOUBT, "the operator would not take the request this early"),
    _row(_ALL, 499, K.IN_DOUBT, "a gateway saw the connection closed"),
    # Upload and changes: only a 201 proves creation; a refusal is checked by a probe before it is believed.
    _row(_UPLOAD, 201, K.ACCEPTED, "created"),
    _row(_CHANGES, (100, 399), K.IN_DOUBT, "an answer that is neither yes nor no"),
    # These three are about this very request, whoever said so; any other bare refusal may be a gateway's passing whim.
    _row(_UPLOAD, (413, 415), K.REFUSED, "such a request is not taken"),
    _row(_UPLOAD, (400, 499), K.REFUSED, "the operator refused it", code=_ANY_CODE),
    _row(_UPLOAD, (400, 499), K.IN_DOUBT, "refused without the operator's code, so perhaps not by the operator"),
    _row(_CHANGES, (400, 499), K.REFUSED, "the operator refused it"),
    _row(_CHANGES, (500, 599), K.IN_DOUBT, "the operator failed; it may have been created"),
    # Questions change nothing: a gateway without an operator behind it is an outage, not a doubt about the answer.
    _row(_PROBES, 200, K.ALREADY_THERE, "the operator holds it"),
    _row(_PROVEN, 404, K.ABSENT, "the operator does not have it", code=_ANY_CODE),
    _row(_PROBES, 404, K.IN_DOUBT, "not found, which also means no access"),
    _row(_QUESTIONS, 502, K.UNAVAILABLE, "a gateway cannot reach the operator"),
    _row(_QUESTIONS, 504, K.UNAVAILABLE, "a gateway waited in vain for the operator"),
    _row(frozenset({Phase.READ}), 404, K.IN_DOUBT, "not found, which also means no access"),
    _row(frozenset({Phase.READ}), (400, 499), K.REFUSED, "the operator refused the question"),
    _row(_QUESTIONS, (100, 599), K.IN_DOUBT, "no usable answer"),
)
"""Rows about answers. Sources: contract sections 1 to 3; RFC 9110 for the statuses the operator does not document."""

_NEVER_LEFT = "nothing was sent"
_MAY_HAVE_ARRIVED = "it may have arrived"

FAILURES: Final[Mapping[tuple[Phase, TransportFailureKind], tuple[OutcomeKind, str]]] = {
    (phase, failure): (
        (K.UNAVAILABLE, _NEVER_LEFT)
        if failure in NOT_SENT or phase is Phase.TOKEN
        else (K.IN_DOUBT, _MAY_HAVE_ARRIVED if phase in _CHANGES else "no answer came")
    )
    for phase in Phase
    for failure in TransportFailureKind
}
"""Rows about transport failures: only proof that nothing was sent counts as unavailable. Tokens carry no invoice."""

_FAILURE_TEXTS: Final[Mapping[TransportFailureKind, str]] = {
    TransportFailureKind.DNS: "the operator's name cannot be resolved",
    TransportFailureKind.REFUSED: "the connection was refused",
    TransportFailureKind.UNREACHABLE: "no connection came about",
    TransportFailureKind.CONNECT_TIMEOUT: "no connection came about in time",
    TransportFailureKind.TLS: "the TLS handshake failed",
    TransportFailureKind.POOL_TIMEOUT: "no connection of ours came free in time",
    TransportFailureKind.READ_TIMEOUT: "the operator did not answer in time",
    TransportFailureKind.WRITE_TIMEOUT: "the operator did not take the request in time",
    TransportFailureKind.DEADLINE: "the exchange took longer than we wait",
    TransportFailureKind.RESET: "the connection was reset",
    TransportFailureKind.CLOSED: "the connection was closed before the answer was complete",
    TransportFailureKind.PROTOCOL: "what came back is not HTTP",
    TransportFailureKind.UNKNOWN: "the exchange broke in a way we do not know",
}


def judge_answer(
    phase: Phase,
    status: int,
    *,
    code: str | None = None,
    message: str | None = None,
    details: Sequence[str] = (),
    headers: Mapping[str, str] | None = None,
    now: datetime,
    operator_status: str | None = None,
) -> Outcome:
    """Say what an answer proves. `headers` in lower case or case-insensitive; `now` is aware UTC."""
    row = next((row for row in ANSWERS if row.matches(phase, status, code, message)), None)
    kind, reason = (row.kind, row.reason) if row else (K.IN_DOUBT, "a status outside HTTP")
    return Outcome(
        kind=kind,
        http_status=status,
        error_code=one_line(code),
        message=one_line(_with_details(message or "", details)) or reason,
        retry_after_seconds=read_retry_after(headers or {}, now=now),
        operator_status=operator_status,
    )


def _with_details(message: str, details: Sequence[str]) -> str:
    return f"{message} ({', '.join(details)})" if details else message


def judge_unreadable(phase: Phase, status: int, *, why: str) -> Outcome:
    """Say what an answer proves that promised success but cannot be used."""
    kind = K.UNAVAILABLE if phase is Phase.TOKEN else K.IN_DOUBT
    return Outcome(kind=kind, http_status=status, error_code=UNREADABLE, message=one_line(why))


def judge_failure(phase: Phase, failure: TransportFailureKind) -> Outcome:
    """Say what a transport failure proves; never that something was created, rarely that nothing was."""
    kind, consequence = FAILURES[phase, failure]
    return Outcome(kind=kind, error_code=failure.value, message=f"{_FAILURE_TEXTS[failure]}: {consequence}")


def one_line(text: str | None) -> str | None:
    """Put a text of the operator on one line of at most 500 characters; None stays None."""
    if text is None:
        return None
    printable = "".join(char if char.isprintable() else " " for char in text[: 4 * MESSAGE_LIMIT])
    flat = " ".join(printable.split())
    return flat if len(flat) <= MESSAGE_LIMIT else flat[: MESSAGE_LIMIT - 1] + "…"


def read_retry_after(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """Read Retry-After as seconds from now: a number or an HTTP date, between 0 and one day; else None.

    A date is measured against the answer's own Date, so that a wrong clock on either side does no harm.
    """
    text = headers.get("retry-after", "").strip()
    # Nine digits are 30 years; longer ones would only cost a big integer.
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
        return min(float(text), RETRY_AFTER_LIMIT_SECONDS)
    wanted = _http_date(text)
    if wanted is None:
        return None
    told_at = _http_date(headers.get("date", "")) or now
    return min(max((wanted - told_at).total_seconds(), 0.0), RETRY_AFTER_LIMIT_SECONDS)


def _http_date(text: str) -> datetime | None:
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at
