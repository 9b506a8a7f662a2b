"""Counts what came and what is held: the truth that a sender's promise of `once` is measured against."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class Entry:
    """What is known under one UUID."""

    company_id: str
    sha256: list[str] = field(default_factory=list)  # of each upload, in order
    held: int = 0  # invoices that exist under the UUID
    held_sha256: str = ""
    faults: list[str] = field(default_factory=list)  # those of reroutes begin with "reroute "
    reroutes: list[dict[str, object]] = field(default_factory=list)  # executed ones in order, answered or not
    lost: int = 0  # how often the operator lost the invoice
    from_outside: bool = False  # put into the books by somebody else, never uploaded


class Ledger:
    """All UUIDs ever uploaded, with running totals."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.requests: Counter[str] = Counter()
        self.struck: Counter[str] = Counter()
        self.uploads = 0
        self.held = 0
        self.doubled = 0
        self.reroutes = 0
        self.lost = 0

    def upload(self, uuid: str, *, company_id: str, sha256: str) -> int:
        """Note that a document arrived; tells the how-manieth upload of its UUID it is."""
        entry = self.entries.get(uuid)
        if entry is None:
            entry = self.entries[uuid] = Entry(company_id)
        entry.sha256.append(sha256)
        self.uploads += 1
        return len(entry.sha256)

    def hold(self, uuid: str, *, company_id: str, sha256: str) -> None:
        """Note that an invoice was created under the UUID."""
        entry = self.entries[uuid]
        entry.company_id, entry.held_sha256 = company_id, entry.held_sha256 or sha256
        entry.held += 1
        self.held += 1
        self.doubled += entry.held == 2  # noqa: PLR2004 - the second is what doubles

    def enter(self, uuid: str, *, company_id: str) -> None:
        """Note that somebody else has an invoice under the UUID; `hold` follows."""
        self.entries.setdefault(uuid, Entry(company_id)).from_outside = True

    def lose(self, uuid: str) -> None:
        """Note that what was held under the UUID is gone; the entry stays, and a new upload is the first again."""
        entry = self.entries[uuid]
        self.held -= entry.held
        entry.held, entry.held_sha256 = 0, ""
        entry.lost += 1
        self.lost += 1

    def reroute(self, uuid: str, *, channel: str, fields: Mapping[str, str], at: str) -> None:
        """Note that a reroute was executed, whatever becomes of its answer."""
        self.entries[uuid].reroutes.append({"channel": channel, "fields": dict(fields), "at": at})
        self.reroutes += 1

    def strike(self, name: str, uuid: str | None, *, prefix: str = "") -> None:
        """Note that a fault was performed, and on which UUID if it was an upload or a reroute."""
        self.struck[name] += 1
        entry = self.entries.get(uuid or "")
        if entry is not None:
            entry.faults.append(prefix + name)

    def answered(self, endpoint: str, outcome: str) -> None:
        """Note the answer of a request: a status, or how the connection ended."""
        self.requests[f"{endpoint} {outcome}"] += 1

    def shown(
        self, status_of: Callable[[str], str | None], *, company_id: str | None, uuids: frozenset[str]
    ) -> dict[str, object]:
        """Write the entries, all or those of one company or some UUIDs."""
        return {
            uuid: {
                "uploads": len(entry.sha256),
                "sha256": entry.sha256,
                "held": entry.held,
                "held_sha256": entry.held_sha256 or None,
                "company_id": entry.company_id,
                "status": status_of(uuid),
                "faults": entry.faults,
                "reroutes": entry.reroutes,
                "lost": entry.lost,
                "from_outside": entry.from_outside,
            }
            for uuid, entry in self.entries.items()
            if (company_id is None or entry.company_id == company_id) and (not uuids or uuid in uuids)
        }

    def totals(self) -> dict[str, object]:
        """Write the running totals."""
        return {
            "uuids": len(self.entries),
            "uploads": self.uploads,
            "held": self.held,
            "doubled": self.doubled,
            "reroutes": self.reroutes,
            "lost": self.lost,
            "faults": dict(self.struck),
            "requests": dict(sorted(self.requests.items())),
        }
