"""The operator's side of the truth: the simulator's ledger, faults, knobs and companies, asked over HTTP."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

COMPANY_A = "00000000-0000-4000-8000-000000000001"
COMPANY_B = "00000000-0000-4000-8000-000000000002"
NAMES = {COMPANY_A: "Esimerkki Oy", COMPANY_B: "Muster GmbH"}
USER_KEY = "demo-user-key"
VENDOR_KEY = "demo-vendor-key"


@dataclass(frozen=True, kw_only=True)
class Sent:
    """One submitted invoice, as the test knows it."""

    uuid: str
    sha256: str


class OperatorSide:
    """One running simulator."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=f"{url}/_simulator", timeout=30, trust_env=False)
        self._knobs = self._ask("GET", "knobs")

    def close(self) -> None:
        """Hang up."""
        self._http.close()

    def calm(self) -> None:
        """Take every fault and every turned knob back."""
        self.faults([])
        self.end_outage()
        self.knobs(**self._knobs)
        for company in (COMPANY_A, COMPANY_B):
            self.company(company, user_key=USER_KEY, key_disabled=False, company_state="VERIFIED")

    def faults(self, script: str | list[dict[str, Any]]) -> None:
        """Put a fault script in force, by name or as rules."""
        self._ask("PUT", "faults", script)

    def knobs(self, **knobs: Any) -> None:
        """Turn knobs."""
        self._ask("PUT", "knobs", knobs)

    def begin_outage(self, kind: str) -> None:
        """Serve nobody until it is ended: `refuse`, `503` or `silence`."""
        self._ask("PUT", "outage", {"kind": kind})

    def end_outage(self) -> None:
        """Serve everybody again."""
        self._ask("DELETE", "outage")

    def outage(self) -> dict[str, Any]:
        """The outage that is, with who asked meanwhile."""
        return self._ask("GET", "outage")

    def company(self, company_id: str, **fields: Any) -> None:
        """Change an account at the operator."""
        self._ask("PUT", f"companies/{company_id}", fields)

    def expire_tokens(self) -> None:
        """Let every token end now."""
        self._ask("POST", "expire_tokens")

    def enter(self, uuid: str, company: str, **fields: Any) -> None:
        """Put an invoice under a UUID into the books, as somebody else would: `document`, or what it says."""
        self._ask("POST", f"invoices/{uuid}", {"company": company, **fields})

    def lose(self, uuid: str) -> None:
        """Forget an invoice that was accepted."""
        self._ask("DELETE", f"invoices/{uuid}")

    def totals(self) -> dict[str, Any]:
        """The running totals."""
        return self._ask("GET", "ledger/totals")

    def ledger(self) -> dict[str, dict[str, Any]]:
        """What came and what is held, by UUID, in the order of the first upload."""
        return self._ask("GET", "ledger")["invoices"]

    def violations(self) -> dict[str, Any]:
        """What broke the specification."""
        return self._ask("GET", "violations")

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        answer = (
            self._http.request(method, f"/{path}", json=body)
            if body is not None
            else self._http.request(method, f"/{path}")
        )
        answer.raise_for_status()
        return answer.json() if answer.content else None


def complaints(ledger: Mapping[str, Mapping[str, Any]], sent: list[Sent]) -> list[str]:
    """Say where the operator does not hold exactly one invoice for each submitted one, with exactly its bytes."""
    found: list[str] = []
    holders = Counter[str]()
    for entry in ledger.values():
        holders[entry["held_sha256"]] += entry["held"]
    for one in sent:
        entry = ledger.get(one.uuid)
        if entry is None or entry["held"] == 0:
            found.append(f"{one.uuid} missing")
            continue
        if entry["held"] != 1:
            found.append(f"{one.uuid} held {entry['held']} times")
        if holders[one.sha256] != 1:
            found.append(f"{one.uuid}: its bytes are held {holders[one.sha256]} times, under whatever UUID")
        if set(entry["sha256"]) != {one.sha256} or entry["held_sha256"] != one.sha256:
            found.append(f"{one.uuid}: other bytes than submitted")
    return found
