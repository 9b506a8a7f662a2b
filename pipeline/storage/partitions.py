"""The parts that the large tables are made of: the one for open work, and one for each month.

Makes months before they come. What is put away, kept and dropped, and when, is decided elsewhere.
"""

from datetime import datetime

from sqlalchemy import Connection, text
from sqlmodel import Session

from pipeline.storage.tables import DUE_SQL, OPEN_SQL, RESTING_SQL

ENDED_SQL = "state IN ('failed', 'refused', 'superseded', 'cancelled')"
"""What people list and no step of sending writes."""
MONTHLY = {"attempt": "started_at", "event": "at", "document": "created_at"}
MONTHS_AHEAD = 3
LOCK_TIMEOUT = "2s"
"""Whoever waits for a table stands before everybody who comes after him."""
OPEN_PART = "invoice_open"
OPEN_INDEXES = (
    f"CREATE INDEX invoice_due ON invoice_open (company_id, due_at) WHERE {DUE_SQL}",
    f"""CREATE INDEX invoice_urgent ON invoice_open (company_id, priority DESC, deadline, due_at)
        WHERE (deadline IS NOT NULL OR priority > 0) AND {DUE_SQL}""",
    "CREATE INDEX invoice_leased ON invoice_open (lease_until) WHERE lease_until IS NOT NULL",
    "CREATE INDEX invoice_look_company ON invoice_open (company_id, look_at) WHERE look_at IS NOT NULL",
    "CREATE INDEX invoice_route ON invoice_open (route_at) WHERE route_at IS NOT NULL",
    """CREATE UNIQUE INDEX invoice_successor ON invoice_open (supersedes)
        WHERE supersedes IS NOT NULL AND state <> 'cancelled'""",
    f"CREATE INDEX invoice_oldest ON invoice_open (state, submitted_at) WHERE {OPEN_SQL}",
    "CREATE INDEX invoice_held ON invoice_open (company_id) WHERE state = 'held'",
    f"CREATE INDEX invoice_ended ON invoice_open (state, submitted_at, id) WHERE {ENDED_SQL}",
    f"CREATE INDEX invoice_resting ON invoice_open (changed_at) WHERE {RESTING_SQL}",
)
"""What only open work is found by."""
HISTORY_INDEXES = (
    "CREATE INDEX {name}_company ON {name} (company_id, submitted_at, id)",
    "CREATE INDEX {name}_state ON {name} (state, submitted_at, id) WHERE state <> 'delivered'",
)
"""What people find finished invoices by, beside the indexes of the whole; nearly all of them are delivered."""
COUNTERS = (
    """CREATE TRIGGER tally_invoices_insert AFTER INSERT ON {name} REFERENCING NEW TABLE AS new_rows
        FOR EACH STATEMENT EXECUTE FUNCTION tally_invoices()""",
    """CREATE TRIGGER tally_invoices_update AFTER UPDATE ON {name}
        REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
        FOR EACH STATEMENT EXECUTE FUNCTION tally_invoices()""",
    """CREATE TRIGGER tally_invoices_delete AFTER DELETE ON {name} REFERENCING OLD TABLE AS old_rows
        FOR EACH STATEMENT EXECUTE FUNCTION tally_invoices()""",
)
"""Triggers of a statement fire for the table it names alone, so each part needs its own."""
ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(hashtext('postiljon.months'))")
PARTS = text("""
    SELECT c.relname AS name FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
    WHERE i.inhparent = CAST(:table AS regclass) ORDER BY 1
""")


def make_open_part(connection: Connection) -> None:
    """Make the part of the invoice table for open work, with its indexes."""
    connection.execute(text("CREATE TABLE invoice_open PARTITION OF invoice FOR VALUES IN (0)"))
    for statement in OPEN_INDEXES:
        connection.execute(text(statement))


def part_names(connection: Connection, table: str) -> list[str]:
    """Return the names of the parts of a table."""
    return list(connection.execute(PARTS, {"table": table}).scalars())


def make_months(connection: Connection, *, now: datetime, ahead: int = MONTHS_AHEAD) -> list[str]:
    """Make the parts of this month and some to come where they are missing; return the names of those made.

    What came before its month was made waits in the part named `_other`, and goes over.
    """
    connection.execute(ONE_AT_A_TIME)
    made = []
    for table in (*MONTHLY, "invoice"):
        last = max(months_of(connection, table), default=_earlier(_month_of(now)))
        while last < _later(_month_of(now), ahead):
            last = _later(last)
            made.append(_make_month(connection, table, last))
    return made


def make_months_soon(session: Session, *, now: datetime) -> list[str]:
    """Make months as `make_months` does, but give up rather than have sending wait behind a lock.

    Raises: ServiceUnavailableError when somebody reads or writes the tables for longer than that.
    """
    connection = session.connection()
    connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
    return make_months(connection, now=now)


def months_of(connection: Connection, table: str) -> list[tuple[int, int]]:
    suffixes = [name.removeprefix(f"{table}_").split("_") for name in part_names(connection, table)]
    return [(int(year), int(month)) for year, month in (each for each in suffixes if len(each) == 2)]  # noqa: PLR2004


def _make_month(connection: Connection, table: str, month: tuple[int, int]) -> str:
    name = f"{table}_{month[0]}_{month[1]:02}"
    # An attempt is written twice, soon after each other: with room in its page the second time touches no index.
    room = "WITH (fillfactor = 80)" if table == "attempt" else ""
    connection.execute(text(f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL) {room}"))
    if table == "invoice":
        bounds = f"IN ({month[0]}{month[1]:02})"
        inside = f"shelf = {month[0]}{month[1]:02}"
        for statement in HISTORY_INDEXES:
            connection.execute(text(statement.format(name=name)))
    else:
        start, end = _start(month), _start(_later(month))
        bounds = f"FROM ('{start}') TO ('{end}')"
        inside = f"{MONTHLY[table]} >= '{start}' AND {MONTHLY[table]} < '{end}'"
    _fetch_early(connection, table, name, inside)
    connection.execute(text(f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES {bounds}"))
    if table == "invoice":
        for statement in COUNTERS:
            connection.execute(text(statement.format(name=name)))
    return name


def _fetch_early(connection: Connection, table: str, name: str, inside: str) -> None:
    # What is written between the copy and the deletion would go with the latter; attaching needs this lock anyway.
    connection.execute(text(f"LOCK TABLE {table}_other IN ACCESS EXCLUSIVE MODE"))
    if connection.execute(text(f"SELECT EXISTS (SELECT 1 FROM {table}_other WHERE {inside})")).scalar_one():
        connection.execute(text(f"INSERT INTO {name} SELECT * FROM {table}_other WHERE {inside}"))
        connection.execute(text(f"ALTER TABLE {table}_other DISABLE TRIGGER USER"))
        connection.execute(text(f"DELETE FROM {table}_other WHERE {inside}"))
        connection.execute(text(f"ALTER TABLE {table}_other ENABLE TRIGGER USER"))


def _month_of(at: datetime) -> tuple[int, int]:
    return at.year, at.month


def _later(month: tuple[int, int], months: int = 1) -> tuple[int, int]:
    year, zero_based = divmod(month[0] * 12 + month[1] - 1 + months, 12)
    return year, zero_based + 1


def _earlier(month: tuple[int, int]) -> tuple[int, int]:
    return _later(month, -1)


def _start(month: tuple[int, int]) -> str:
    return f"{month[0]}-{month[1]:02}-01T00:00:00Z"
