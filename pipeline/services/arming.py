"""May this installation send? Read in the transaction that claims, so that nothing stands between answer and deed.

Arming anew is arm.py; what is compared is pipeline.domain.arming.
"""

import logging
from datetime import datetime
from urllib.parse import urlsplit

from sqlmodel import Session

from pipeline.domain.arming import Place, Standing, judge, key_mark, may_arm_itself, seal
from pipeline.domain.errors import ConfigurationError, DisarmedError
from pipeline.maventa.environment import OperatorHosts
from pipeline.settings import Settings
from pipeline.storage.arming import Seen, read_arming, write_arming
from pipeline.storage.clock import read_clock

NO_KEY = "no instance key: set POSTILJON_INSTANCE_KEY_FILE (postiljon key new makes a key)"

log = logging.getLogger(__name__)


def read_standing(session: Session, settings: Settings) -> Standing:
    """Return whether the installation may send, and what differs from when it was armed."""
    seen = read_arming(session)
    return judge(seen.latest, place_of(seen, settings), _key_or_none(settings))


def why_disarmed(session: Session, settings: Settings) -> str | None:
    """Say in one line why nothing may be sent; None when it may. Cheap: one statement of well under a millisecond."""
    return read_standing(session, settings).why


def require_armed(session: Session, settings: Settings) -> None:
    """Refuse what changes anything at the operator. Raises: DisarmedError naming what differs."""
    why = why_disarmed(session, settings)
    if why is not None:
        raise DisarmedError(why)


def arm_itself(session: Session, settings: Settings, *, by: str) -> bool:
    """Arm where the tables were made and nobody armed yet; False where there is nothing to do or it must not be.

    A fresh database sends nothing twice, and one that lived before there was arming is the living one. A copy of either
    stands in another place and waits for a person.
    """
    seen, key = read_arming(session), _key_or_none(settings)
    here = place_of(seen, settings)
    if key is None or not may_arm_itself(seen.latest, here):
        return False
    seal_here(session, here, key=key, by=by, now=read_clock(session))
    return True


def seal_here(session: Session, here: Place, *, key: bytes, by: str, now: datetime) -> None:
    """Write the arming of a place; the caller has made sure that it may be."""
    write_arming(session, here, seal=seal(here, key), key_mark=key_mark(key), by=by, now=now)
    extra = {"event": "armed", "environment": here.environment, "operator": here.operator_host}
    log.warning("this installation was armed", extra=extra)


def place_of(seen: Seen, settings: Settings) -> Place:
    """Return where the installation stands by its database and settings."""
    hosts = OperatorHosts.of(settings.installation, override_url=settings.operator_url)
    return Place(
        server=seen.server,
        database=seen.database,
        environment=settings.installation.value,
        # Without the port: `postiljon up --simulator` takes another one each time.
        operator_host=urlsplit(hosts.ax).hostname or "",
    )


def require_key(settings: Settings) -> bytes:
    """Return the instance key. Raises: ConfigurationError when there is none or it cannot be used."""
    key = settings.read_instance_key()
    if key is None:
        raise ConfigurationError(NO_KEY)
    return key


def _key_or_none(settings: Settings) -> bytes | None:
    try:
        return settings.read_instance_key()
    except ConfigurationError as exc:
        # A key that cannot be read arms nothing; everything else goes on.
        log.warning("no usable instance key", extra={"event": "instance_key_unusable", "cause": str(exc)})
        return None
