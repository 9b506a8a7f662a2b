"""The lean operator's books: which UUID arrived how often with which bytes, who holds a token. Knows no sockets.

The words and totals are the simulator's (simulator/ledger.py), written anew: tests/contract/bench compares both.
"""

import secrets
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256

USER_KEY = "demo-user-key"
VENDOR_KEY = "demo-vendor-key"
"""What the simulator's ready companies have, so that a system is set up alike for both."""
SCOPES = "eui"


@dataclass(slots=True)
class Entry:
    """What is known under one UUID."""

    company_id: str
    sha256: list[bytes] = field(default_factory=list)
    held: int = 0
    held_sha256: bytes = b""
    created_at: float = 0.0


class Books:
    """All UUIDs ever uploaded, all tokens in force, and how requests were answered."""

    def __init__(self, *, companies: int) -> None:
        self.companies = frozenset(f"00000000-0000-4000-8000-{number:012d}" for number in range(1, companies + 1))
        self.tokens: dict[bytes, str] = {}
        self.entries: dict[str, Entry] = {}
        self.requests: Counter[str] = Counter()
        self.uploads = self.held = self.upload_bytes = 0
        self.first_upload_at = self.last_upload_at = 0.0

    def grant(self, client_id: str, secret: str, vendor_key: str) -> str | None:
        """Give a new token to who knows the keys of a ready company."""
        company = client_id.strip().lower()
        if company not in self.companies or secret != USER_KEY or vendor_key not in {"", VENDOR_KEY}:
            return None
        text = secrets.token_urlsafe(64)
        self.tokens[text.encode()] = company
        return text

    def upload(self, uuid: str, *, company_id: str, content: bytes | memoryview, now: float) -> Entry | None:
        """Note that a document arrived; the entry when it made an invoice, None when the UUID was taken."""
        entry = self.entries.get(uuid)
        if entry is None:
            entry = self.entries[uuid] = Entry(company_id)
        digest = sha256(content).digest()
        entry.sha256.append(digest)
        self.uploads += 1
        self.upload_bytes += len(content)
        self.first_upload_at = self.first_upload_at or now
        self.last_upload_at = now
        if entry.held:
            return None
        entry.held, entry.held_sha256, entry.created_at = 1, digest, now
        self.held += 1
        return entry

    def of_company(self, company_id: str, uuids: Iterable[str]) -> list[tuple[str, Entry]]:
        """Return those of the UUIDs that the company has an invoice under, each once."""
        wanted = dict.fromkeys(uuid.lower() for uuid in uuids)
        found = ((uuid, self.entries.get(uuid)) for uuid in wanted)
        return [(uuid, entry) for uuid, entry in found if entry is not None and entry.company_id == company_id]

    def totals(self) -> dict[str, object]:
        """Write the running totals, with when the first and the last upload came (epoch seconds)."""
        return {
            "uuids": len(self.entries),
            "uploads": self.uploads,
            "held": self.held,
            "doubled": 0,
            "upload_bytes": self.upload_bytes,
            "first_upload_at": self.first_upload_at,
            "last_upload_at": self.last_upload_at,
            "requests": dict(sorted(self.requests.items())),
        }

    def shown(self) -> dict[str, object]:
        """Write the entries."""
        return {
            uuid: {
                "uploads": len(entry.sha256),
                "sha256": [each.hex() for each in entry.sha256],
                "held": entry.held,
                "held_sha256": entry.held_sha256.hex() or None,
                "company_id": entry.company_id,
            }
            for uuid, entry in self.entries.items()
        }

    def reset(self) -> None:
        """Forget what was uploaded and answered; tokens stay good."""
        self.entries.clear()
        self.requests.clear()
        self.uploads = self.held = self.upload_bytes = 0
        self.first_upload_at = self.last_upload_at = 0.0

    def mark(self) -> None:
        """Count the next upload as the first one, in time only."""
        self.first_upload_at = self.last_upload_at = 0.0
