"""Why the operator stopped a whole company, in words, and what a person does about it. Knows no HTTP and no storage."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pipeline.domain.decision import explain
from pipeline.domain.outcome import Outcome

NOT_LET_IN = "the operator does not let this company in"
"""What we say before anything is known; the detail stands in brackets behind it."""

_STATUS: Final = re.compile(r"\bHTTP ([0-9]{3})\b")


class HoldKind(StrEnum):
    """What stopped a company, as far as its answers tell."""

    CREDENTIALS = "credentials"
    UNVERIFIED = "unverified"
    SCOPE = "scope"
    DAILY_LIMIT = "daily_limit"
    KEY_DISABLED = "key_disabled"
    ACCOUNT = "account"
    NO_ACCESS = "no_access"


@dataclass(frozen=True, kw_only=True)
class HoldCause:
    """Why a company is held: `words` for the screen, `advice` says what to do and where."""

    kind: HoldKind
    words: str
    advice: str


@dataclass(frozen=True, kw_only=True)
class HoldRow:
    """One row of the table. What is given must fit: the status, the operator's code, the text anywhere in its words."""

    kind: HoldKind
    words: str
    advice: str
    source: str
    code: re.Pattern[str] | None = None
    text: re.Pattern[str] | None = None
    status: int | None = None

    def fits(self, *, told: str, code: str, status: int | None) -> bool:
        """Tell whether the row speaks about this answer: by code or text, and by status where one is named."""
        if self.status is not None and status != self.status:
            return False
        by_code = self.code is not None and self.code.fullmatch(code) is not None
        by_text = self.text is not None and self.text.search(told) is not None
        return by_code or by_text or (self.code is None and self.text is None)


def _re(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


K = HoldKind
_NEW_KEYS = "enter its keys anew: postiljon company add UUID --name NAME"
_ASKED_AGAIN = "it is asked again by itself and goes on when the operator lets it in"

ROWS: Final[tuple[HoldRow, ...]] = (
    HoldRow(
        kind=K.DAILY_LIMIT,
        words="the daily number of invoices is used up",
        advice="nothing to mend: it is tried again, one invoice first, and goes on when the operator's day is over; to "
        "send more a day ask the operator for a higher limit",
        source="contract section 7: USER, VENDOR API KEY or GLOBAL DAILY INVOICE LIMIT (@n) REACHED",
        text=_re(r"daily invoice limit"),
    ),
    HoldRow(
        kind=K.KEY_DISABLED,
        words="the software key (vendor_api_key) is disabled",
        advice="ask the operator to enable the software key, or get a new one and " + _NEW_KEYS,
        source="contract section 7: VENDOR API KEY DISABLED",
        text=_re(r"vendor api key disabled"),
    ),
    HoldRow(
        kind=K.ACCOUNT,
        words="the user of the key is not activated",
        advice="open the activation message that the operator sent to the user's address; " + _ASKED_AGAIN,
        source="contract section 7: USER NOT ACTIVATED",
        text=_re(r"user not activated"),
    ),
    HoldRow(
        kind=K.ACCOUNT,
        words="the company's account at the operator is locked",
        advice="have the operator's support unlock the account; " + _ASKED_AGAIN,
        source="contract section 7: COMPANY ACCOUNT IS LOCKED",
        text=_re(r"company account is locked"),
    ),
    HoldRow(
        kind=K.ACCOUNT,
        words="the company's account at the operator was never set up",
        advice="log in to the operator's portal as the company and finish the first-time settings; " + _ASKED_AGAIN,
        source="contract section 7: COMPANY HAS NOT COMPLETED FIRST TIME WIZARD",
        text=_re(r"first time wizard"),
    ),
    HoldRow(
        kind=K.ACCOUNT,
        words="the user of the key has no rights to this company",
        advice="have the company's administrator add the user in the operator's portal, or use a key of a user who "
        "belongs to it and " + _NEW_KEYS,
        source="contract section 7: USER HAS NO RIGHTS TO COMPANY",
        text=_re(r"user has no rights to company"),
    ),
    HoldRow(
        kind=K.CREDENTIALS,
        words="the keys belong to another company or to none",
        advice="compare the company's UUID with the one in the operator's portal (the UUID is the client_id, the user "
        "key the client_secret; they are easily swapped) and " + _NEW_KEYS,
        source="contract section 7: USER or COMPANY NOT FOUND, NO COMPANY ID GIVEN; our own check of /oauth2/current",
        code=_re(r"other_company"),
        text=_re(r"\b(user|company) not found|no company id given|belongs to another company"),
    ),
    HoldRow(
        kind=K.UNVERIFIED,
        words="the company is not verified at the operator",
        advice="have the authorisation signed: the operator sent the request to the address in auth_email (GET "
        "/v1/company/authorization shows it, POST sends it again); its invoices go out by themselves afterwards",
        source="contract sections 2 and 6: company_state UNVERIFIED",
        code=_re(r"unverified"),
        text=_re(r"is not verified at the operator"),
    ),
    HoldRow(
        kind=K.SCOPE,
        words="the token has no right to send invoices (scope invoice:send)",
        advice="see whether the company is verified and the software key may ask for invoice:send; then add the scope: "
        "postiljon company add UUID --name NAME --scope eui",
        source="contract section 1: scopes of unverified companies are cut; sections 1 and 8: default scope lacks them",
        code=_re(r"missing_scope|insufficient_scope|invalid_scope"),
        text=_re(r"\bscopes?\b|no right to the company's sent invoices"),
    ),
    HoldRow(
        kind=K.CREDENTIALS,
        words="the operator does not know the company's keys",
        advice="check both keys for blanks and for swapped values, make a new user key in the operator's portal if in "
        "doubt, and " + _NEW_KEYS,
        source="contract section 1: invalid_credentials; our own verdicts on the token request",
        code=_re(r"invalid_credentials|invalid_client"),
        text=_re(r"(these|wrong|invalid|bad) credentials|invalid_credentials|wrong key"),
    ),
    HoldRow(
        kind=K.UNVERIFIED,
        words="the company may not send, most likely because it is not verified at the operator",
        advice="have the authorisation signed: the operator asks the address in auth_email for it (its portal shows "
        "whether that is done); if it is signed, " + _NEW_KEYS,
        source="contract section 2: sending for an unverified company is refused with the message Unauthorized",
        # As the whole message: at the beginning, or behind the status in our brackets, and nothing after it.
        text=_re(r"(\A|\(|, )unauthorized\)?\Z"),
    ),
    HoldRow(
        kind=K.CREDENTIALS,
        words="the operator took neither the token nor a fresh one",
        advice="see in the operator's portal whether the user key still stands, then " + _NEW_KEYS,
        source="contract sections 1 and 8: 401 means a bad token too; one refresh, then stop",
        code=_re(r"auth_unauthorized"),
        text=_re(r"invalid token|token (has )?expired"),
        status=401,
    ),
    HoldRow(
        kind=K.NO_ACCESS,
        words=NOT_LET_IN,
        advice="log in to the operator's portal as the company, see whether it is verified and its user key stands; if "
        "so, ask the operator why; new keys: postiljon company add UUID --name NAME",
        source="contract section 1: 401 and 403 say no more than that there is no access",
    ),
)
"""The first row that fits wins; the last one fits everything."""


def judge_hold(outcome: Outcome) -> HoldCause:
    """Say why the company of an UNAUTHORIZED outcome is held. A pure function."""
    return _judge(explain(outcome, NOT_LET_IN), code=outcome.error_code or "")


def judge_words(told: str) -> HoldCause:
    """Say the same of a cause that is known in words only, the operator's or ours."""
    return _judge(told, code="")


def _judge(told: str, *, code: str) -> HoldCause:
    found = _STATUS.search(told)
    status = int(found[1]) if found else None
    row = next(row for row in ROWS if row.fits(told=told, code=code, status=status))
    return HoldCause(kind=row.kind, words=_retell(told, row.words), advice=row.advice)


def _retell(told: str, words: str) -> str:
    # What the operator said is kept behind our words, for whoever has to ask its support.
    detail = told.removeprefix(NOT_LET_IN).strip().removeprefix("(").removesuffix(")") if told else ""
    if told.startswith(NOT_LET_IN):
        return f"{words} ({detail})" if detail else words
    return told if words in told or words == NOT_LET_IN else f"{words} ({told})"
