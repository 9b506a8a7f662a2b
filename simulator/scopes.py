"""The operator's scopes: names, aliases, defaults, and what an unverified company is left with."""

# Source: swagger.json, securityDefinitions and POST /oauth2/token.
ALIASES: dict[str, frozenset[str]] = {
    "eui": frozenset(
        {
            "eui:open", "company:read", "company:write", "lookup", "receivables:assignments", "document:send",
            "document:receive", "invoice:receive", "invoice:send", "analysis",
        }
    ),
    "global": frozenset({"company:read", "document:receive", "document:send", "lookup"}),
    "company": frozenset({"company:read", "company:write"}),
}  # fmt: skip
COMPANY_SCOPES = frozenset(
    {
        "lookup", "document:receive", "document:send", "invoice:receive", "invoice:send", "company:read",
        "company:write",
        "validate",
        "receivables:assignments", "analysis", "billing:reports", "partner:invoice_delivery_actions",
        "partner:lookups", "partner:takeovers", "partner:lyanthe_scan_service", "fi_bank_message:send",
        "fi_bank_message:receive", "eui:open",
    }
)  # fmt: skip
OPERATOR_SCOPES = frozenset(
    f"operator:{name}"
    for name in (
        "documents:receive", "documents:send", "lookup", "participants", "notifications", "validate",
        "receivables:assignments", "receivables:assignments:create", "receivables:account_statement", "analysis",
        "companies", "takeover", "billing:actions", "sending_parties:write", "supplier_bank_accounts:write",
        "user:create", "company:read", "company:write",
    )
)  # fmt: skip
DEFAULT_SCOPES = ("global", "company")
# Which scopes an unverified company keeps is not published; it must be able to read and start its own authorisation.
UNVERIFIED_SCOPES = frozenset({"company:read", "company:write", "lookup"})


def granted(asked: str, *, verified: bool, partner: bool = True) -> list[str]:
    """Give the scopes a company's token carries, aliases kept as asked, unknown ones left out.

    Of an alias that an unverified company may not have whole it gets the part that it may have.
    """
    names = list(dict.fromkeys(asked.split())) or list(DEFAULT_SCOPES)
    known = [name for name in names if name in ALIASES or name in COMPANY_SCOPES]
    if not partner:
        known = [name for name in known if not name.startswith("partner:")]
    return known if verified else list(dict.fromkeys(left for name in known for left in _left(name)))


def granted_to_operator(asked: str) -> list[str]:
    """Give the scopes an operator's token carries: those asked for, or all."""
    names = list(dict.fromkeys(asked.split()))
    return [name for name in names if name in OPERATOR_SCOPES] if names else sorted(OPERATOR_SCOPES)


def expanded(names: list[str]) -> frozenset[str]:
    """Resolve aliases into the scopes they stand for."""
    return frozenset().union(*(ALIASES.get(name, frozenset({name})) for name in names))


def _left(name: str) -> list[str]:
    """Give what an unverified company keeps of a scope."""
    scopes = expanded([name])
    return [name] if scopes <= UNVERIFIED_SCOPES else sorted(scopes & UNVERIFIED_SCOPES)


def suffices(held: frozenset[str], wanted: tuple[str, ...]) -> bool:
    """Whether any of the wanted scopes is held; an alias is held when all that it stands for is."""
    return not wanted or any(ALIASES.get(name, frozenset({name})) <= held for name in wanted)
