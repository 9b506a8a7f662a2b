"""History apart from open work: invoices on shelves, attempts, events and documents in months.

The tables there were become the first partition of each, up to the end of this month, so that only indexes are built
and only what is still open is moved. One transaction: whoever interrupts it finds the old tables as they were.
"""

from datetime import datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

MONTHLY = {
    "attempt": ("started_at", "invoice_id, id, started_at"),
    "event": ("at", "invoice_id, id, at"),
    "document": ("created_at", "sha256, created_at"),
}
REFERRING = ("alarm", "operator_action", "route_case", "failure", "way_out")
RESTING = (
    "state IN ('delivered', 'failed', 'refused', 'superseded', 'cancelled') "
    "AND look_at IS NULL AND route_at IS NULL AND lease_until IS NULL"
)
# The daily pass asks about what was delivered lately, and a failure rests once a person closed its case.
FINISHED = f"""
    {RESTING} AND (state IN ('superseded', 'cancelled')
        OR state = 'delivered' AND accepted_at < now() - interval '45 days'
        OR state IN ('failed', 'refused')
            AND EXISTS (SELECT 1 FROM route_case AS c WHERE c.invoice_id = o.id AND c.status = 'closed'))
"""
INVOICE_GUARD = """
CREATE OR REPLACE FUNCTION invoice_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.not_before > NEW.due_at AND NEW.state IN ('queued', 'waiting') THEN
        NEW.due_at := NEW.not_before;
    END IF;
    IF TG_OP = 'INSERT' THEN
        -- From shelf to shelf is DELETE and INSERT: then the UUID was used before. What begins with a used UUID as
        -- anything else is refused by invoice_keys() at the end of its statement.
        IF (NEW.state <> 'queued' OR NEW.shelf <> 0) AND NOT EXISTS (SELECT 1 FROM invoice_key WHERE id = NEW.id) THEN
            RAISE EXCEPTION 'invoice % must begin as queued, not %', NEW.id, NEW.state USING ERRCODE = 'check_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF NEW.state <> OLD.state
       AND NOT EXISTS (SELECT 1 FROM transition WHERE source = OLD.state AND target = NEW.state) THEN
        RAISE EXCEPTION 'invoice %: no move leads from % to %', OLD.id, OLD.state, NEW.state
            USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.epoch < OLD.epoch THEN
        RAISE EXCEPTION 'invoice %: epoch % is older than %', OLD.id, NEW.epoch, OLD.epoch
            USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.id <> OLD.id OR NEW.company_id <> OLD.company_id OR NEW.document_sha256 <> OLD.document_sha256 THEN
        RAISE EXCEPTION 'invoice %: UUID, company and document never change', OLD.id
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;
"""
INVOICE_KEYS = """
CREATE FUNCTION invoice_keys() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO invoice_key (id) SELECT id FROM new_rows;
    RETURN NULL;
END
$$;
"""
# Triggers of one statement fire for the table that it names, be it the whole or a part of it.
STATEMENT_TRIGGERS = (
    ("invoice_keys", "INSERT", "NEW TABLE AS new_rows"),
    ("tally_invoices", "INSERT", "NEW TABLE AS new_rows"),
    ("tally_invoices", "UPDATE", "OLD TABLE AS old_rows NEW TABLE AS new_rows"),
    ("tally_invoices", "DELETE", "OLD TABLE AS old_rows"),
)
DOCUMENT_GUARD = """
CREATE OR REPLACE FUNCTION document_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF current_setting('postiljon.expunging', true) = 'on' THEN
            RETURN OLD;
        END IF;
        RAISE EXCEPTION 'a document goes with its month, or is expunged' USING ERRCODE = 'check_violation';
    END IF;
    RAISE EXCEPTION 'a document never changes; another content is another document' USING ERRCODE = 'check_violation';
END
$$;
"""


def upgrade() -> None:
    connection = op.get_bind()
    op.execute("SET LOCAL statement_timeout = 0")
    tables = ", ".join(("invoice", *MONTHLY, *REFERRING))
    op.execute(f"LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE")
    _free_of_references(connection, (*REFERRING, "attempt", "event", "invoice"))
    op.execute("CREATE TABLE invoice_key (id uuid NOT NULL, CONSTRAINT invoice_key_pkey PRIMARY KEY (id))")
    op.execute("INSERT INTO invoice_key SELECT id FROM invoice")
    for table, (column, key) in MONTHLY.items():
        _split_by_month(connection, table, column, key)
    _shelve_invoices(connection)
    for table in REFERRING:
        op.create_foreign_key(None, table, "invoice_key", ["invoice_id"], ["id"])
    op.create_foreign_key(None, "invoice", "invoice_key", ["supersedes"], ["id"])
    for column in ("keep_delivered_months", "keep_failed_months", "keep_documents_months"):
        op.add_column("company", sa.Column(column, sa.Integer(), nullable=True))
    op.create_table(
        "removal",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("company_id", sa.Uuid(), nullable=True),
        sa.Column("removed", postgresql.JSONB(), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("removed_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.ForeignKeyConstraint(["company_id"], ["company.id"]),
    )
    for deltas in ("tally_delta", "batch_delta"):
        op.execute(f"ALTER TABLE {deltas} SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000)")
    op.execute(DOCUMENT_GUARD)
    op.execute(
        "CREATE TRIGGER document_guard BEFORE UPDATE OR DELETE ON document "
        "FOR EACH ROW EXECUTE FUNCTION document_guard()"
    )


def _free_of_references(connection: sa.Connection, tables: tuple[str, ...]) -> None:
    rows = connection.execute(
        sa.text("""
            SELECT conrelid::regclass::text AS owner, conname FROM pg_constraint
            WHERE contype = 'f' AND confrelid IN ('invoice'::regclass, 'document'::regclass)
                AND conrelid::regclass::text = ANY(:tables)
        """),
        {"tables": list(tables)},
    ).all()
    for row in rows:
        op.drop_constraint(row.conname, row.owner, type_="foreignkey")


def _last_month(connection: sa.Connection, table: str, column: str) -> datetime:
    """Return the start of the last month the existing rows are of, this one at least."""
    month: datetime = connection.execute(
        sa.text(f"""
            SELECT date_trunc('month', greatest(max({column}), now()) AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' FROM {table}
        """)
    ).scalar_one()
    return month


def _split_by_month(connection: sa.Connection, table: str, column: str, key: str) -> None:
    last = _last_month(connection, table, column)
    first = f"{table}_{last:%Y_%m}"
    _drop_indexes_and_triggers(connection, table)
    if table != "document":
        highest = connection.execute(sa.text(f"SELECT coalesce(max(id), 0) + 1 FROM {table}")).scalar_one()
        op.execute(f"ALTER TABLE {table} ALTER id DROP IDENTITY")
        op.execute(f"CREATE SEQUENCE {table}_id_seq AS bigint START {highest}")
        op.execute(f"ALTER TABLE {table} ALTER id SET DEFAULT nextval('{table}_id_seq')")
    op.execute(f"ALTER TABLE {table} RENAME TO {first}")
    op.execute(
        f"CREATE TABLE {table} (LIKE {first} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE) "
        f"PARTITION BY RANGE ({column})"
    )
    op.execute(f"ALTER TABLE {table} ADD CONSTRAINT {table}_pkey PRIMARY KEY ({key})")
    end = f"((date_trunc('month', timestamptz '{last:%Y-%m-%d} 12:00Z' AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC')"
    op.execute(f"ALTER TABLE {table} ATTACH PARTITION {first} FOR VALUES FROM (MINVALUE) TO ({end})")
    op.execute(f"CREATE TABLE {table}_other PARTITION OF {table} DEFAULT")
    if table == "attempt":
        op.execute(f"ALTER TABLE {first} SET (fillfactor = 80)")


def _drop_indexes_and_triggers(connection: sa.Connection, table: str) -> list[sa.Row[tuple[str, str]]]:
    """Drop them and return the name and definition of each index that no constraint stands for."""
    indexes = connection.execute(
        sa.text("""
            SELECT i.relname AS name, pg_get_indexdef(x.indexrelid) AS definition, c.conname AS constraint_name
            FROM pg_index AS x JOIN pg_class AS i ON i.oid = x.indexrelid
            LEFT JOIN pg_constraint AS c ON c.conindid = x.indexrelid AND c.contype IN ('p', 'u')
            WHERE x.indrelid = CAST(:table AS regclass) ORDER BY 1
        """),
        {"table": table},
    ).all()
    for index in indexes:
        if index.constraint_name:
            op.drop_constraint(index.constraint_name, table)
        else:
            op.execute(f"DROP INDEX {index.name}")
    triggers = connection.execute(
        sa.text("SELECT tgname FROM pg_trigger WHERE tgrelid = CAST(:table AS regclass) AND NOT tgisinternal"),
        {"table": table},
    ).scalars()
    for trigger in triggers.all():
        op.execute(f"DROP TRIGGER {trigger} ON {table}")
    return [index for index in indexes if not index.constraint_name]


def _shelve_invoices(connection: sa.Connection) -> None:
    last = _last_month(connection, "invoice", "changed_at")
    month, shelf = f"invoice_{last:%Y_%m}", f"{last:%Y%m}"
    indexes = _drop_indexes_and_triggers(connection, "invoice")
    op.execute("ALTER TABLE invoice ADD COLUMN attempts integer NOT NULL DEFAULT 0")
    op.execute("ALTER TABLE invoice ADD COLUMN begun_epoch bigint NOT NULL DEFAULT 0")
    op.execute("ALTER TABLE invoice ADD COLUMN document_at timestamptz")
    # A default that was there when the column came is kept once for the whole table: no row is written.
    op.execute(f"ALTER TABLE invoice ADD COLUMN shelf integer NOT NULL DEFAULT {shelf}")
    op.execute("ALTER TABLE invoice ALTER shelf SET DEFAULT 0")
    op.execute(f"ALTER TABLE invoice RENAME TO {month}")
    op.execute(
        f"CREATE TABLE invoice (LIKE {month} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE) "
        "PARTITION BY LIST (shelf)"
    )
    # Each of its rows is written several times in a minute and then leaves: it is cleaned early.
    op.execute(
        "CREATE TABLE invoice_open PARTITION OF invoice FOR VALUES IN (0) "
        "WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000, "
        "autovacuum_analyze_scale_factor = 0.05)"
    )
    op.execute("CREATE TABLE invoice_other PARTITION OF invoice DEFAULT")
    _move_open(connection, month)
    op.execute(f"ALTER TABLE {month} ADD CONSTRAINT invoice_shelved_rests CHECK (shelf = 0 OR ({RESTING}))")
    op.execute(
        f"ALTER TABLE {month} ADD CONSTRAINT invoice_open_knows_document CHECK (shelf <> 0 OR document_at IS NOT NULL)"
    )
    op.execute(f"ALTER TABLE invoice ADD CONSTRAINT invoice_shelved_rests CHECK (shelf = 0 OR ({RESTING}))")
    op.execute(
        "ALTER TABLE invoice ADD CONSTRAINT invoice_open_knows_document CHECK (shelf <> 0 OR document_at IS NOT NULL)"
    )
    op.create_foreign_key("invoice_company_id_fkey", "invoice", "company", ["company_id"], ["id"])
    op.create_foreign_key("invoice_batch_id_fkey", "invoice", "batch", ["batch_id"], ["id"])
    op.execute(f"ALTER TABLE invoice ATTACH PARTITION {month} FOR VALUES IN ({shelf})")
    _index_invoices(indexes, month)
    op.execute(INVOICE_GUARD)
    op.execute(INVOICE_KEYS)
    op.execute(
        "CREATE TRIGGER invoice_guard BEFORE INSERT OR UPDATE ON invoice "
        "FOR EACH ROW EXECUTE FUNCTION invoice_guard()"
    )
    for table in ("invoice", "invoice_open", "invoice_other", month):
        for function, event, rows in STATEMENT_TRIGGERS:
            if function == "tally_invoices" or table in {"invoice", "invoice_open"}:
                op.execute(
                    f"CREATE TRIGGER {function}_{event.lower()} AFTER {event} ON {table} REFERENCING {rows} "
                    f"FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
                )


def _move_open(connection: sa.Connection, month: str) -> None:
    columns = connection.execute(
        sa.text("""
            SELECT attname FROM pg_attribute WHERE attrelid = CAST(:table AS regclass) AND attnum > 0
                AND NOT attisdropped AND attname NOT IN ('shelf', 'attempts', 'document_at') ORDER BY attnum
        """),
        {"table": month},
    ).scalars()
    names = ", ".join(columns)
    op.execute(f"""
        INSERT INTO invoice_open ({names}, shelf, attempts, document_at)
        SELECT {names}, 0, (SELECT coalesce(max(a.number), 0) FROM attempt AS a WHERE a.invoice_id = o.id),
            (SELECT d.created_at FROM document AS d WHERE d.sha256 = o.document_sha256)
        FROM {month} AS o WHERE NOT coalesce({FINISHED}, false)
    """)
    op.execute(f"DELETE FROM {month} AS o USING invoice_open AS n WHERE n.id = o.id")


def _index_invoices(indexes: list[sa.Row[tuple[str, str]]], month: str) -> None:
    op.execute("ALTER TABLE invoice ADD CONSTRAINT invoice_pkey PRIMARY KEY (id, shelf)")
    op.execute("CREATE INDEX invoice_submitted ON invoice (submitted_at, id)")
    op.execute("CREATE INDEX invoice_number ON invoice (number)")
    op.execute("CREATE INDEX invoice_batch ON invoice (batch_id, submitted_at, id) WHERE batch_id IS NOT NULL")
    op.execute("CREATE INDEX invoice_supersedes ON invoice (supersedes) WHERE supersedes IS NOT NULL")
    for index in indexes:
        if index.name not in {"invoice_submitted", "invoice_number", "invoice_batch", "invoice_look"}:
            definition = index.definition.replace("invoice_open", "invoice_oldest").replace(
                " ON public.invoice ", " ON invoice_open "
            )
            op.execute(definition)
    op.execute(
        "CREATE INDEX invoice_ended ON invoice_open (state, submitted_at, id) "
        "WHERE state IN ('failed', 'refused', 'superseded', 'cancelled')"
    )
    op.execute(f"CREATE INDEX invoice_resting ON invoice_open (changed_at) WHERE {RESTING}")
    for table in (month, "invoice_other"):
        op.execute(f"CREATE INDEX {table}_company ON {table} (company_id, submitted_at, id)")
        op.execute(f"CREATE INDEX {table}_state ON {table} (state, submitted_at, id) WHERE state <> 'delivered'")
