"""Batches that balance, an earliest moment and a priority for invoices, and counters of what is due by which cut-off.

A batch keeps its own counters. What a statement changes about a batch is one row in `batch_delta`, balanced in itself;
folded rows are balanced too, so that neither ever holds a total that is not the sum of its parts.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

DUE = "state IN ('queued', 'waiting', 'in_doubt')"
PARTS = ("delivered", "failed", "open", "held", "cancelled", "superseded")
PART_OF = {
    "delivered": "state = 'delivered'",
    "failed": "state IN ('failed', 'refused')",
    "open": "state IN ('queued', 'sending', 'waiting', 'in_doubt', 'accepted')",
    "held": "state = 'held'",
    "cancelled": "state = 'cancelled'",
    "superseded": "state = 'superseded'",
}
TO_SEND = "state IN ('queued', 'sending', 'waiting', 'in_doubt')"
BALANCED = f"total = {' + '.join(PARTS)}"
SUMS = ", ".join(f"coalesce(sum(n) FILTER (WHERE {PART_OF[part]}), 0)" for part in PARTS)
CHANGED = " OR ".join(f"coalesce(sum(n) FILTER (WHERE {PART_OF[part]}), 0) <> 0" for part in PARTS)
# By the minute, cut off downwards: so there are few counters, and none speaks of a moment that is too late.
CUTOFF = "priority || '/' || coalesce(CAST(CAST(floor(extract(epoch FROM deadline) / 60) AS bigint) AS text), '')"
URGENT = "(deadline IS NOT NULL OR priority > 0)"

WHOLE = "company_id, batch_id, state, deadline, priority, not_before, submitted_at"
SIDES = {
    "INSERT": f"SELECT {WHOLE}, 1 AS n FROM new_rows",
    "DELETE": f"SELECT {WHOLE}, -1 AS n FROM old_rows",
    # Both sides whole, and what did not change adds up to nothing: joined by the UUID they would be compared row by row
    # with each other wherever the plan was made for a statement of few rows.
    "UPDATE": """SELECT company_id, batch_id, state, deadline, priority, CAST(NULL AS timestamptz) AS not_before,
            CAST(NULL AS timestamptz) AS submitted_at, -1 AS n FROM old_rows
        UNION ALL
        SELECT company_id, batch_id, state, deadline, priority, not_before, NULL, 1 FROM new_rows""",
}


def _tell(sides: str) -> str:
    return f"""
        WITH sides AS MATERIALIZED ({sides}
        ), counted AS (
            INSERT INTO tally_delta (subject, company_id, batch_id, name, n)
            SELECT 'invoice', company_id, coalesce(batch_id, 0), state, sum(n) FROM sides
            GROUP BY 2, 3, 4 HAVING sum(n) <> 0
            UNION ALL
            SELECT 'deadline', company_id, coalesce(batch_id, 0), {CUTOFF}, sum(n) FROM sides
            WHERE {URGENT} AND {TO_SEND} GROUP BY 2, 3, 4 HAVING sum(n) <> 0
        )
        INSERT INTO batch_delta (batch_id, total, {", ".join(PARTS)}, not_before, submitted_at)
        SELECT batch_id, sum(n), {SUMS}, max(not_before), max(submitted_at) FROM sides WHERE batch_id IS NOT NULL
        GROUP BY batch_id HAVING sum(n) <> 0 OR {CHANGED};"""


TALLY_INVOICES = f"""
CREATE OR REPLACE FUNCTION tally_invoices() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN {_tell(SIDES["INSERT"])}
    ELSIF TG_OP = 'DELETE' THEN {_tell(SIDES["DELETE"])}
    ELSE {_tell(SIDES["UPDATE"])}
    END IF;
    RETURN NULL;
END
$$;
"""
# The guard of the first migration, and in it the earliest moment: whoever makes an invoice due, it is not due before.
INVOICE_GUARD = """
CREATE OR REPLACE FUNCTION invoice_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.not_before > NEW.due_at AND NEW.state IN ('queued', 'waiting') THEN
        NEW.due_at := NEW.not_before;
    END IF;
    IF TG_OP = 'INSERT' THEN
        IF NEW.state <> 'queued' THEN
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
BATCH_GUARD = """
CREATE FUNCTION batch_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.completed_at IS NOT NULL
       AND (NEW.completed_at, NEW.completed_total) IS DISTINCT FROM (OLD.completed_at, OLD.completed_total) THEN
        RAISE EXCEPTION 'batch % was completed at % and is not completed again', OLD.id, OLD.completed_at
            USING ERRCODE = 'check_violation';
    END IF;
    IF OLD.completed_at IS NULL AND NEW.completed_at IS NOT NULL
       AND (NEW.closed_at IS NULL OR NEW.open <> 0 OR NEW.held <> 0 OR NEW.completed_total <> NEW.total
            OR EXISTS (SELECT 1 FROM batch_delta WHERE batch_id = NEW.id)) THEN
        RAISE EXCEPTION 'batch % is not complete: % open, % held', OLD.id, NEW.open, NEW.held
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;
"""
COUNT_BATCHES = f"""
    UPDATE batch SET total = counted.total, not_before = NULL, submitted_at = counted.submitted_at,
        {", ".join(f"{part} = counted.{part}" for part in PARTS)}
    FROM (
        SELECT batch_id, count(*) AS total, max(submitted_at) AS submitted_at,
            {", ".join(f"count(*) FILTER (WHERE {PART_OF[part]}) AS {part}" for part in PARTS)}
        FROM invoice WHERE batch_id IS NOT NULL GROUP BY batch_id) AS counted
    WHERE batch.id = counted.batch_id
"""
# What ended before there was an event has none to come: nobody shall hear today of the batches of last year.
COMPLETE_OLD = """
    UPDATE batch SET closed_at = ended.at, completed_at = ended.at, completed_total = total
    FROM (SELECT batch_id, max(changed_at) AS at FROM invoice WHERE batch_id IS NOT NULL GROUP BY batch_id) AS ended
    WHERE ended.batch_id = batch.id AND total > 0 AND open = 0 AND held = 0
"""
COUNT_CUTOFFS = f"""
    INSERT INTO tally (subject, company_id, batch_id, name, n)
    SELECT 'deadline', company_id, coalesce(batch_id, 0), {CUTOFF}, count(*) FROM invoice
    WHERE {URGENT} AND {TO_SEND} GROUP BY 2, 3, 4
"""


def _instant(name: str) -> sa.Column[sa.DateTime]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=True)


def _counts() -> list[sa.Column[sa.BigInteger]]:
    names = ("total", *PARTS)
    return [sa.Column(name, sa.BigInteger(), nullable=False, server_default="0") for name in names]


def upgrade() -> None:
    op.add_column("invoice", _instant("not_before"))
    op.add_column("invoice", sa.Column("priority", sa.SmallInteger(), nullable=False, server_default="0"))
    op.create_check_constraint("invoice_priority_known", "invoice", "priority BETWEEN 0 AND 9")
    op.create_check_constraint(
        "invoice_not_before",
        "invoice",
        "not_before IS NULL OR state NOT IN ('queued', 'waiting') OR due_at >= not_before",
    )
    op.drop_constraint("invoice_cancelled_never_left", "invoice")
    op.create_check_constraint(
        "invoice_cancelled_never_left",
        "invoice",
        "state <> 'cancelled' OR uploads = 0 OR (uploads = 1 AND refusal IS NOT NULL)",
    )
    op.drop_index("invoice_deadline", "invoice")
    op.create_index(
        "invoice_urgent",
        "invoice",
        ["company_id", sa.text("priority DESC"), "deadline", "due_at"],
        postgresql_where=sa.text(f"{URGENT} AND {DUE}"),
    )
    for column in (*_counts(), *map(_instant, ("not_before", "submitted_at", "closed_at", "completed_at"))):
        op.add_column("batch", column)
    op.add_column("batch", sa.Column("completed_total", sa.BigInteger(), nullable=True))
    op.create_check_constraint("batch_balances", "batch", BALANCED)
    op.create_check_constraint("batch_completed_was_closed", "batch", "completed_at IS NULL OR closed_at IS NOT NULL")
    op.create_index("batch_going_on", "batch", ["id"], postgresql_where=sa.text("completed_at IS NULL"))
    op.create_table(
        "batch_delta",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        *_counts(),
        _instant("not_before"),
        _instant("submitted_at"),
        sa.PrimaryKeyConstraint("id"),
        sa.CheckConstraint(BALANCED, name="batch_delta_balances"),
    )
    for statement in (COUNT_BATCHES, COMPLETE_OLD, COUNT_CUTOFFS, TALLY_INVOICES, INVOICE_GUARD, BATCH_GUARD):
        op.execute(statement)
    op.execute("CREATE TRIGGER batch_guard BEFORE UPDATE ON batch FOR EACH ROW EXECUTE FUNCTION batch_guard()")
