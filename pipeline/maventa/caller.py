"""Asks the operator in a company's name: token, one exchange, one second chance after a 401, then the verdict table.

Every exchange passes the turnstile. Knows nothing of what the questions are about.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from random import Random
from urllib.parse import urlencode
from uuid import UUID

from pydantic import TypeAdapter

from pipeline.domain.credentials import AccessToken, CompanyCredentials, TokenStore
from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.domain.turnstile import Lane, OpenTurnstile, Turnstile
from pipeline.maventa.auth import TokenSource, schedule_token
from pipeline.maventa.failure import TransportFailureKind
from pipeline.maventa.schemas import OAuthToken
from pipeline.maventa.verdict import Phase, judge_answer, judge_failure, judge_unreadable
from pipeline.maventa.wire import Answer, Question, Wire

_TOKEN = TypeAdapter(OAuthToken)

_NO_ENTRY = frozenset({401, 403})
"""Bad token, or no right: the operator does not tell them apart for sure (contract section 1), so both get one fresh
token. It also ends the wait of a company that was verified while an older, narrower token was still valid."""

_PROVABLE = frozenset({"eui", "global"})
"""Either lets a token be asked what it may do (swagger.json, GET /oauth2/current; `eui` contains `global`)."""

_ABANDONED = Outcome(kind=OutcomeKind.IN_DOUBT, error_code="abandoned", message="nobody waited for the answer")

OPERATOR_SCOPES = ("operator:companies", "operator:notifications")


@dataclass(frozen=True, kw_only=True)
class OperatorCredentials:
    """Keys of an operator account. What exactly their values are is documented nowhere (contract section 1)."""

    client_id: str
    client_secret: str = field(repr=False)
    vendor_api_key: str | None = field(default=None, repr=False)
    scopes: tuple[str, ...] = OPERATOR_SCOPES


class Caller:
    """Puts questions in a company's name. Answers of success come back as they are, all else as an outcome."""

    def __init__(
        self,
        *,
        wire: Wire,
        store: TokenStore,
        clock: Callable[[], datetime],
        random: Random,
        turnstile: Turnstile | None = None,
    ) -> None:
        """Keep the parts; nothing is asked yet. Without a turnstile every exchange begins at once."""
        self._wire = wire
        self._turnstile = turnstile or OpenTurnstile()
        self._clock = clock
        self._random = random
        self._tokens = TokenSource(store=store, grant=self._grant_company, clock=clock)

    async def ask(
        self, credentials: CompanyCredentials, question: Question, *, phase: Phase, success: frozenset[int]
    ) -> Answer | Outcome:
        """Put one question; a 401 or 403 is asked once more with a fresh token."""
        token = await self._tokens.token(credentials)
        if isinstance(token, Outcome):
            return token
        company_id = credentials.company_id
        answer = await self._exchange(company_id, question, phase=phase, success=success, token=token)
        if not isinstance(answer, Outcome) or answer.http_status not in _NO_ENTRY:
            return answer
        await self._tokens.discard(credentials, token)
        token = await self._tokens.token(credentials)
        if isinstance(token, Outcome):
            return _still_left(token, first=answer, phase=phase)
        again = await self._exchange(company_id, question, phase=phase, success=success, token=token)
        return _still_left(again, first=answer, phase=phase) if isinstance(again, Outcome) else again

    async def token(self, credentials: CompanyCredentials) -> AccessToken | Outcome:
        """Return the token that the next question of the company would carry, or why there is none."""
        return await self._tokens.token(credentials)

    async def ask_with(
        self, token: AccessToken, question: Question, *, company_id: UUID, phase: Phase, success: frozenset[int]
    ) -> Answer | Outcome:
        """Put one question with this very token and no other: what it proves may depend on the token's rights."""
        return await self._exchange(company_id, question, phase=phase, success=success, token=token)

    async def forget_token(self, credentials: CompanyCredentials) -> None:
        """Make the next question of a company fetch a new token, for the whole fleet."""
        token = await self._tokens.token(credentials)
        if not isinstance(token, Outcome):
            await self._tokens.discard(credentials, token)

    async def operator_token(self, credentials: OperatorCredentials) -> AccessToken | Outcome:
        """Fetch a token with operator credentials. Not shared: nothing of an invoice needs one."""
        form = [("client_id", credentials.client_id), ("client_secret", credentials.client_secret)]
        if credentials.vendor_api_key is not None:
            form.append(("vendor_api_key", credentials.vendor_api_key))
        return await self._grant([*form, ("scope", " ".join(credentials.scopes))], company_id=None)

    async def _grant_company(self, credentials: CompanyCredentials) -> AccessToken | Outcome:
        return await self._grant(
            [
                ("client_id", str(credentials.company_id)),
                ("client_secret", credentials.user_api_key),
                ("vendor_api_key", credentials.vendor_api_key),
                ("scope", " ".join(_with_proof(credentials.scopes))),
            ],
            company_id=credentials.company_id,
        )

    async def _grant(self, form: list[tuple[str, str]], *, company_id: UUID | None) -> AccessToken | Outcome:
        question = Question(
            method="POST",
            path="/oauth2/token",
            content=urlencode([("grant_type", "client_credentials"), *form]).encode(),
            content_type="application/x-www-form-urlencoded",
        )
        asked_at = self._clock()
        answer = await self._exchange(company_id, question, phase=Phase.TOKEN, success=frozenset({200, 201}))
        if isinstance(answer, Outcome):
            return answer
        told = answer.parse(_TOKEN)
        if told is None:
            return judge_unreadable(Phase.TOKEN, answer.status, why="the operator's token cannot be read")
        return schedule_token(
            value=told.access_token,
            scope=told.scope or dict(form)["scope"],
            expires_in=told.expires_in,
            now=asked_at,
            random_share=self._random.random(),
        )

    async def _exchange(
        self,
        company_id: UUID | None,
        question: Question,
        *,
        phase: Phase,
        success: frozenset[int],
        token: AccessToken | None = None,
    ) -> Answer | Outcome:
        lane = Lane.UPLOAD if phase is Phase.UPLOAD else Lane.READ
        held_back = await self._turnstile.enter(company_id, lane)
        if held_back is not None:
            return held_back
        ended: Answer | Outcome = _ABANDONED
        try:
            told = await self._wire.ask(question, bearer=token.value if token is not None else None)
            ended = self._judge(told, phase=phase, success=success)
        finally:
            self._turnstile.leave(company_id, lane, ended if isinstance(ended, Outcome) else None)
        return ended

    def _judge(
        self, answer: Answer | TransportFailureKind, *, phase: Phase, success: frozenset[int]
    ) -> Answer | Outcome:
        if isinstance(answer, TransportFailureKind):
            return judge_failure(phase, answer)
        if answer.status in success:
            return answer
        told = answer.error()
        return judge_answer(
            phase,
            answer.status,
            code=told.code,
            message=told.message,
            details=told.details or (),
            headers=answer.headers,
            now=self._clock(),
        )


def _still_left(second: Outcome, *, first: Outcome, phase: Phase) -> Outcome:
    # The first upload left us, and not every 401 is the operator's own: nobody may take it for never begun.
    if phase is not Phase.UPLOAD or not second.left_nothing:
        return second
    return replace(second, http_status=first.http_status, held_back_seconds=None)


def _with_proof(scopes: tuple[str, ...]) -> tuple[str, ...]:
    # Without it no absence could ever be proven, and a doubt about an invoice would end with a person.
    return (*scopes, "global") if _PROVABLE.isdisjoint(scopes) else scopes
