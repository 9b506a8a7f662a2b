"""The companies that have an account at the operator, their keys and what they are allowed."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from uuid import UUID

from simulator.errors import SettingError

USER_KEY = "demo-user-key"
VENDOR_KEY = "demo-vendor-key"
OPERATOR_ID = "demo-operator"
OPERATOR_SECRET = "demo-operator-key"
READY_COMPANIES = 2
STATES = ("VERIFIED", "UNVERIFIED", "UNKNOWN")


@dataclass(slots=True)
class Company:
    """One account; changed only through `Companies.put` and the operator's own endpoints."""

    id: str
    name: str
    bid: str
    country: str = "FI"
    user_key: str = USER_KEY
    vendor_key: str = VENDOR_KEY
    state: str = "VERIFIED"
    auth_state: str = "SIGNED"
    auth_email: str = "owner@example.invalid"
    key_disabled: bool = False
    disabled: bool = False
    print_enabled: bool = False  # off until the company switches it on (published print pages)
    stop_duplicate_numbers: bool = False
    daily_limit: int = 0  # 0 = none

    @property
    def verified(self) -> bool:
        """Whether the operator lets the company send."""
        return self.state == "VERIFIED"


class Companies:
    """All accounts by UUID."""

    def __init__(self, ready: int = READY_COMPANIES) -> None:
        self._by_id: dict[str, Company] = {}
        for number in range(1, ready + 1):
            self._by_id[company_id(number)] = _ready(number)

    def get(self, identifier: str) -> Company | None:
        """Find a company, in whatever case its UUID is written."""
        return self._by_id.get(identifier) or self._by_id.get(identifier.lower())

    def all(self) -> list[Company]:
        """List the companies in the order they came."""
        return list(self._by_id.values())

    def with_vendor(self, vendor_key: str) -> list[Company]:
        """List the companies linked to a vendor's software."""
        return [company for company in self._by_id.values() if company.vendor_key == vendor_key]

    def put(self, identifier: str, changes: Mapping[str, object]) -> Company:
        """Create a company or change one, field by field; `company_state` is the operator's own name of `state`.

        Raises: SettingError naming the field.
        """
        key = _checked_uuid(identifier)
        company = self._by_id.get(key) or Company(id=key, name=f"Company {key[-4:]} Oy", bid="0000000-0")
        named = {"state" if name == "company_state" else name: value for name, value in changes.items()}
        checked = {name: _checked(name, value) for name, value in named.items()}
        for name, value in checked.items():
            setattr(company, name, value)
        if "state" in named and "auth_state" not in named and company.verified != (company.auth_state == "SIGNED"):
            company.auth_state = "SIGNED" if company.verified else "NONE"
        self._by_id[key] = company
        return company


def company_id(number: int) -> str:
    """Give the UUID of the n-th ready company."""
    return f"00000000-0000-4000-8000-{number:012d}"


def shown(company: Company) -> dict[str, object]:
    """Tell a company without its keys."""
    return {name: value for name, value in asdict(company).items() if name not in ("user_key", "vendor_key")}


def _ready(number: int) -> Company:
    return Company(id=company_id(number), name=f"Malliyritys {number} Oy", bid=f"{1000000 + number}-1")


def _checked_uuid(identifier: str) -> str:
    try:
        return str(UUID(identifier))
    except ValueError as exc:
        raise SettingError(f"a company is known by a UUID, not {identifier!r}") from exc


def _checked(name: str, value: object) -> object:
    kinds = {field.name: field.type for field in fields(Company) if field.name != "id"}
    if name not in kinds:
        raise SettingError(f"a company has no field {name!r}; fields are {', '.join(sorted(kinds))}")
    if not isinstance(value, kinds[name]) or (kinds[name] is int and isinstance(value, bool)):  # type: ignore[arg-type]
        raise SettingError(f"company field {name} takes a {getattr(kinds[name], '__name__', kinds[name])}")
    if name == "state" and value not in STATES:
        raise SettingError(f"company state is one of {', '.join(STATES)}, not {value!r}")
    if isinstance(value, int) and not isinstance(value, bool) and value < 0:
        raise SettingError(f"company field {name} cannot be negative")
    return value
