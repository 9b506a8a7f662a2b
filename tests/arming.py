"""Makes a database of a test one that may send: it was copied from a template, so it is disarmed by itself."""

from pipeline.services.arming import place_of, require_key, seal_here
from pipeline.settings import Settings
from pipeline.storage.arming import read_arming
from pipeline.storage.clock import read_clock
from pipeline.storage.database import Database

INSTANCE_KEY = "an instance key for tests, not random"


def arm_here(database: Database, settings: Settings) -> None:
    with database.transaction() as session:
        here = place_of(read_arming(session), settings)
        seal_here(session, here, key=require_key(settings), by="tests", now=read_clock(session))
