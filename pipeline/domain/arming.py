"""Whether this installation may send: a keyed seal over where it was armed. Knows nothing of databases or settings."""

import hashlib
import hmac
import json
from dataclasses import astuple, dataclass
from datetime import datetime
from enum import StrEnum

SEAL_VERSION = "postiljon arming 1"
MARK_WORDS = b"postiljon instance key 1"
MARK_LENGTH = 16
WHAT_TO_DO = "postiljon arm"
NOT_SET = "not set"


class Part(StrEnum):
    """What sending is bound to."""

    SERVER = "database server"
    """The system identifier that initdb drew: another one after a restore on another server."""
    DATABASE = "database"
    """The database's own number and its table's: others after a restore or copy on the same server."""
    KEY = "instance key"
    """Kept outside the database, so that a copy of its files does not carry it along."""
    ENVIRONMENT = "environment"
    OPERATOR = "operator host"
    SEAL = "seal"
    """None was ever set, or it fits nothing: the record was altered by hand."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an installation stands."""

    server: str
    database: str
    environment: str
    operator_host: str


@dataclass(frozen=True, kw_only=True)
class Armed:
    """What the database keeps of the latest arming."""

    place: Place
    """Environment and host are blank until the first arming."""
    key_mark: str | None
    seal: str | None
    """None: the tables were made here and nobody has armed yet."""
    at: datetime
    by: str


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One part that is not as it was when the installation was armed."""

    part: Part
    armed: str
    here: str


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Whether the installation may send; armed means that nothing differs."""

    differences: tuple[Difference, ...]
    latest: Armed | None

    @property
    def is_armed(self) -> bool:
        """Whether it may send."""
        return not self.differences

    @property
    def why(self) -> str | None:
        """Say in one line why nothing is sent and what to do; None when it may send."""
        if self.is_armed:
            return None
        names = ", ".join(each.part.value for each in self.differences)
        verb = "differs" if len(self.differences) == 1 else "differ"
        return f"this installation is disarmed ({names} {verb}) and sends nothing: {WHAT_TO_DO}"


def seal(place: Place, key: bytes) -> str:
    """Return the seal of a place: nobody makes another one that fits without the key."""
    words = json.dumps([SEAL_VERSION, *astuple(place)]).encode()
    return hmac.new(key, words, hashlib.sha256).hexdigest()


def key_mark(key: bytes) -> str:
    """Return what tells two keys apart without telling anything of them."""
    return hmac.new(key, MARK_WORDS, hashlib.sha256).hexdigest()[:MARK_LENGTH]


def judge(latest: Armed | None, here: Place, key: bytes | None) -> Standing:
    """Compare where the installation was armed with where it stands."""
    fitting = seal(here, key) if key is not None else None
    if fitting and latest is not None and latest.seal and hmac.compare_digest(latest.seal, fitting):
        return Standing(differences=(), latest=latest)
    return Standing(differences=tuple(_differences(latest, here, key)), latest=latest)


def may_arm_itself(latest: Armed | None, here: Place) -> bool:
    """Tell whether nobody has armed yet and the tables were made in this very place: then it is the only one alive."""
    return (
        latest is not None
        and latest.seal is None
        and (latest.place.server, latest.place.database) == (here.server, here.database)
    )


def _differences(latest: Armed | None, here: Place, key: bytes | None) -> list[Difference]:
    mark = key_mark(key) if key is not None else NOT_SET
    if latest is None:
        return [Difference(part=Part.SEAL, armed="never armed", here=NOT_SET)]
    pairs = [(Part.SERVER, latest.place.server, here.server), (Part.DATABASE, latest.place.database, here.database)]
    if latest.seal is None:
        pairs += [(Part.SEAL, "never armed", NOT_SET)]
        if key is None:
            pairs += [(Part.KEY, "", NOT_SET)]
    else:
        pairs += [
            (Part.KEY, latest.key_mark or NOT_SET, mark),
            (Part.ENVIRONMENT, latest.place.environment, here.environment),
            (Part.OPERATOR, latest.place.operator_host, here.operator_host),
        ]
    found = [Difference(part=part, armed=armed, here=now) for part, armed, now in pairs if armed != now]
    return found or [Difference(part=Part.SEAL, armed="altered by hand", here="does not fit")]
