"""What a proof under faults does to its own database. Never used on an installation that sends real invoices.

Everything lives in a schema of its own that is searched before PostgreSQL's: the clock that the fleet asks for is ours
to turn, and a trigger on every table ends a share of the transactions with an error that PostgreSQL could have had.
"""

from enum import StrEnum

from sqlalchemy import text
from sqlmodel import Session

DROP = text("""
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
""")
CHANCES = 1024
PREPARE = (
    "CREATE SCHEMA disturbance",
    "CREATE TABLE disturbance.weather (clock_seconds float NOT NULL, sqlstate text, share float NOT NULL)",
    "INSERT INTO disturbance.weather VALUES (0, NULL, 0)",
    "CREATE SEQUENCE disturbance.ended MINVALUE 0 START 0",  # a sequence keeps its count when what raised it is undone
    "CREATE TABLE disturbance.doomed (sqlstate text NOT NULL)",
    """
    CREATE FUNCTION disturbance.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
        SELECT pg_catalog.clock_timestamp() + make_interval(secs => clock_seconds) FROM disturbance.weather
    $$
    """,
    """
    CREATE FUNCTION disturbance.undo(sqlstate text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
        PERFORM nextval('disturbance.ended');
        RAISE EXCEPTION USING ERRCODE = sqlstate, MESSAGE = 'disturbed on purpose';
    END $$
    """,
    # Half of those chosen end at their first change, half at their commit, as with a real conflict.
    f"""
    CREATE FUNCTION disturbance.choose() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE weather disturbance.weather; die int;
    BEGIN
        SELECT * INTO weather FROM disturbance.weather;
        IF weather.sqlstate IS NOT NULL THEN
            die := hashtext(pg_current_xact_id()::text) & (2 * {CHANCES} - 1);
            IF die / 2 < weather.share * {CHANCES} THEN
                IF die % 2 = 0 THEN PERFORM disturbance.undo(weather.sqlstate); END IF;
                INSERT INTO disturbance.doomed VALUES (weather.sqlstate);
            END IF;
        END IF;
        RETURN NULL;
    END $$
    """,
    """
    CREATE FUNCTION disturbance.undo_at_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM disturbance.undo(NEW.sqlstate);
        RETURN NULL;
    END $$
    """,
    """
    CREATE CONSTRAINT TRIGGER undo_at_commit AFTER INSERT ON disturbance.doomed
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION disturbance.undo_at_commit()
    """,
    """
    DO $$ DECLARE each text; BEGIN
        FOR each IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version' LOOP
            EXECUTE format('CREATE TRIGGER disturbance BEFORE INSERT OR UPDATE OR DELETE ON public.%I '
                'FOR EACH STATEMENT EXECUTE FUNCTION disturbance.choose()', each);
        END LOOP;
        EXECUTE format('ALTER DATABASE %I SET search_path = disturbance, pg_catalog, public', current_database());
    END $$
    """,
)
TURN = text("UPDATE disturbance.weather SET clock_seconds = :seconds")
UNDO = text("UPDATE disturbance.weather SET sqlstate = :sqlstate, share = :share")
UNDO_NO_MORE = text("UPDATE disturbance.weather SET sqlstate = NULL WHERE sqlstate = :sqlstate")
ENDED = text("SELECT last_value + CASE WHEN is_called THEN 1 ELSE 0 END FROM disturbance.ended")
# The index of open invoices by state serves it, so that it may be asked at every strike of a large run.
SENDING = text("SELECT count(*) FROM invoice_open WHERE state = 'sending'")


class Ending(StrEnum):
    """Why PostgreSQL undoes a transaction, as SQLSTATE. Source: PostgreSQL 18, appendix A."""

    SERIALIZATION_FAILURE = "40001"
    DEADLOCK = "40P01"
    CANCELLED = "57014"


def prepare(session: Session) -> None:
    """Make the database one that can be disturbed. Connections that are open notice when they are made anew."""
    connection = session.connection()
    for statement in PREPARE:
        connection.execute(text(statement.replace(":", r"\:")))


def drop_connections(session: Session) -> int:
    """Cut every other connection to this database, as a fail-over would; return how many there were."""
    return int(session.connection().execute(DROP).scalar_one())


def turn_clock(session: Session, seconds: float) -> None:
    """Have the database's clock differ from the true one by so many seconds; 0 is the true one."""
    session.connection().execute(TURN, {"seconds": seconds})


def undo_transactions(session: Session, ending: Ending, *, share: float) -> None:
    """Have a share (0 to 1) of the transactions that change something end with an error from now on."""
    session.connection().execute(UNDO, {"sqlstate": ending.value, "share": share})


def undo_no_more(session: Session, ending: Ending) -> None:
    """Let all transactions through that would have ended so; does nothing where another ending took its place."""
    session.connection().execute(UNDO_NO_MORE, {"sqlstate": ending.value})


def count_undone(session: Session) -> int:
    """Count the transactions that were ended so far."""
    return int(session.connection().execute(ENDED).scalar_one())


def count_sending(session: Session) -> int:
    """Count the invoices that are being sent at this moment."""
    return int(session.connection().execute(SENDING).scalar_one())
