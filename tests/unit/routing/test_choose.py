"""The choice: the first rule that fits and may go ahead, or a person with the reasons."""

import dataclasses
from datetime import timedelta
from decimal import Decimal

import pytest

from pipeline.domain.cause import Cause
from pipeline.domain.recipient import Recipient
from pipeline.domain.routing import Ask, Choice, default_routing
from pipeline.domain.routing_rows import builtin_table
from pipeline.domain.routing_verdicts import Failure
from pipeline.domain.way import Way

from .samples import COMPANY_ID, FULL, NAME, NO_ROUTE, NOW, company, situation

TO_EMAIL = "[[rule]]\nname = 'to e-mail'\ncause = 'recipient_address'\nway = 'email'\n"
TO_PRINT = "[[rule]]\nname = 'to print'\nway = 'print'\nafter = '48h'\n"
ON = f'[company."{NAME}"]\nautomatic = ["email", "print"]\n'
NO_EMAIL = dataclasses.replace(FULL, email=None)


def test_first_rule_that_fits_wins():
    choice = company(TO_EMAIL + TO_PRINT + ON).choose(situation())

    assert choice == Choice(
        way=Way.EMAIL, rule="to e-mail", at=NOW, fields={"recipient_email": "laskut@asiakas.example"}
    )


def test_rule_that_cannot_go_ahead_is_passed_over():
    choice = company(TO_EMAIL + TO_PRINT + ON).choose(situation(recipient=NO_EMAIL))

    assert isinstance(choice, Choice)
    assert (choice.way, choice.rule, choice.fields["recipient_post_office"]) == (Way.PRINT, "to print", "Helsinki")


@pytest.mark.parametrize(
    ("age", "wait"),
    [(timedelta(0), timedelta(hours=48)), (timedelta(hours=47), timedelta(hours=1)), (timedelta(days=3), timedelta(0))],
)
def test_after_counts_from_the_failure_and_never_ends_in_the_past(age, wait):
    choice = company(TO_PRINT + ON).choose(situation(age=age))

    assert isinstance(choice, Choice)
    assert choice.at == NOW + wait


@pytest.mark.parametrize(
    "line", ["", f'[company."{NAME}"]\nautomatic = []\n', '[company.Muu]\nautomatic = ["email"]\n']
)
def test_nothing_is_automatic_unless_the_company_says_so(line):
    asked = company(TO_EMAIL + line).choose(situation())

    assert asked == Ask(
        why="rule 'to e-mail' would take email, but email is not switched on for this company: "
        'put `automatic = ["email"]` under [company."Esimerkki Oy"] in routing.toml'
    )


def test_line_to_add_keeps_what_is_on_and_can_be_pasted():
    text = f'[company."{COMPANY_ID}"]\nautomatic = ["print"]\n'

    asked = company(TO_EMAIL + text).choose(situation())

    assert isinstance(asked, Ask)
    assert f'put `automatic = ["email", "print"]` under [company."{COMPANY_ID}"]' in asked.why
    assert isinstance(company(TO_EMAIL + text.replace('["print"]', '["email", "print"]')).choose(situation()), Choice)


REASONS = {
    "no rule": ("", situation(), "no rule fits recipient address on einvoice (no-route)"),
    "other cause": (TO_EMAIL, situation(Failure(refused=False, text="Print disabled")), "no rule fits company settings (print-not-enabled)"),
    "no address": (TO_EMAIL, situation(recipient=NO_EMAIL), "rule 'to e-mail' would take email, but the document has no e-mail address"),
    "no postal address": (TO_PRINT, situation(recipient=Recipient(name="A", country="FI")), "the document has no postal address, no post code, no town"),
    "bad address": (TO_EMAIL, situation(recipient=Recipient(email="a@b;c@d")), "that is no single e-mail address"),
    "tried": (TO_EMAIL, situation(tried=(Way.EMAIL,)), "but email was tried already with what the document says"),
    "loop": (TO_EMAIL, situation(tried=(Way.EINVOICE, Way.PRINT, Way.RESEND)), "3 ways out tried in vain (einvoice, print, resend); after 3 a person must look"),
    "not allowed": (TO_PRINT, situation(Failure(refused=False, text="Too many attachments")), "print cannot end this failure (attachments-too-many)"),
    "refused": (TO_EMAIL, situation(dataclasses.replace(NO_ROUTE, refused=True)), "email cannot end this failure (no-route)"),
    "unknown": (TO_PRINT, situation(Failure(refused=False, text="Snow")), "the cause is unknown"),
    "no total": (TO_EMAIL + "total_below = 5000\n", situation(total=None), "the total is not known, and the rule is for totals below 5000"),
    "total too high": (TO_EMAIL + "total_below = 5000\n", situation(total=Decimal(5000)), "no rule fits"),
    "other channel": (TO_EMAIL + "channel = 'print'\n", situation(), "no rule fits"),
    "other verdict": (TO_EMAIL + "verdict = 'invalid-email'\n", situation(), "no rule fits"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "case", "why"), REASONS.values(), ids=REASONS)
def test_person_is_asked_with_the_reason(text, case, why):
    asked = company(text + ON).choose(case)

    assert isinstance(asked, Ask)
    assert why in asked.why


def test_every_rule_passed_over_says_why():
    asked = company(TO_EMAIL + TO_PRINT + ON).choose(situation(recipient=NO_EMAIL, tried=(Way.PRINT,)))

    assert isinstance(asked, Ask)
    assert asked.why == (
        "rule 'to e-mail' would take email, but the document has no e-mail address; "
        "rule 'to print' would take print, but print was tried already with what the document says"
    )


@pytest.mark.parametrize(
    "condition",
    ["channel = 'einvoice'", "channel = ['print', 'einvoice']", "verdict = 'no-route'", "total_below = 100.01", ""],
)
def test_rule_whose_conditions_hold_is_taken(condition):
    assert isinstance(company(f"{TO_EMAIL}{condition}\n{ON}").choose(situation()), Choice)


def test_own_rule_goes_before_the_default():
    own = f'{ON}[[company."{NAME}".rule]]\nname = "own"\ncause = "recipient_address"\nway = "print"\n'

    choice = company(TO_EMAIL + own).choose(situation())

    assert isinstance(choice, Choice)
    assert choice.rule == "own"


def test_own_loop_is_the_company_s():
    case = situation(tried=(Way.EINVOICE,))

    assert isinstance(company(TO_EMAIL + ON).choose(case), Choice)
    assert isinstance(company(f"{TO_EMAIL}{ON}loop = 1\n").choose(case), Ask)


def test_retry_of_a_refusal_needs_switching_on():
    text = "[[rule]]\nname = 'again'\ncause = 'company'\nway = 'retry'\nafter = '1h'\n"
    case = situation(Failure(refused=True, text="Unauthorized"))

    choice = company(f'{text}[company."{NAME}"]\nautomatic = ["retry"]').choose(case)

    assert isinstance(company(text + ON).choose(case), Ask)
    assert isinstance(choice, Choice)
    assert (choice.way, choice.fields, choice.at) == (Way.RETRY, {}, NOW + timedelta(minutes=55))


@pytest.mark.parametrize("way", ["einvoice", "email", "print", "resend"])
def test_unknown_cause_is_never_decided_by_a_rule(way):
    text = f'[[rule]]\nname = "all"\nway = "{way}"\n[company."{NAME}"]\nautomatic = ["{way}"]'
    case = situation(Failure(refused=False, text="Snow", key="action_route_failed", channel="EINVOICE"))

    assert case.verdict.cause is Cause.UNKNOWN
    assert isinstance(company(text).choose(case), Ask)
    assert isinstance(company(text).choose(situation()), Choice)


def test_without_a_file_a_person_decides():
    routing = default_routing(builtin_table()).for_company(COMPANY_ID, NAME)

    assert isinstance(routing.choose(situation()), Ask)
    assert (routing.automatic, routing.version) == (frozenset(), "1")
