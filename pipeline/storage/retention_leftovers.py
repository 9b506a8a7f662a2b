"""What is left of invoices whose records are gone: cases, failures, ways out, alarms, the operator's actions.

They are few beside invoices and stand in one table each, so they go row by row, in pieces that hold nobody up.
"""

from sqlalchemy import text
from sqlmodel import Session

from pipeline.storage.retention_swap import GONE_PREFIX

TABLES = text("""
    SELECT relname FROM pg_class
    WHERE relkind = 'r' AND starts_with(relname, :prefix) AND pg_table_is_visible(oid) ORDER BY relname
""")
# A case went over to the invoice that took another's place. It goes with the last of them.
PIECE = """
    WITH piece AS (
        DELETE FROM {gone} WHERE id IN (SELECT id FROM {gone} ORDER BY id LIMIT :limit) RETURNING id
    ), ways AS (
        DELETE FROM way_out WHERE invoice_id IN (SELECT id FROM piece) RETURNING case_id
    ), failures AS (
        DELETE FROM failure WHERE invoice_id IN (SELECT id FROM piece) RETURNING case_id
    ), actions AS (
        DELETE FROM operator_action WHERE invoice_id IN (SELECT id FROM piece)
    ), alarms AS (
        DELETE FROM alarm WHERE invoice_id IN (SELECT id FROM piece) AND ended_at IS NOT NULL
    )
    SELECT (SELECT count(*) FROM piece) AS invoices, ARRAY(
        SELECT case_id FROM ways UNION SELECT case_id FROM failures
        UNION SELECT id FROM route_case WHERE invoice_id IN (SELECT id FROM piece)) AS cases
"""
CASES = text("""
    DELETE FROM route_case AS c WHERE id = ANY(CAST(:cases AS bigint[]))
        AND NOT EXISTS (SELECT 1 FROM invoice AS i WHERE i.id = c.invoice_id)
        AND NOT EXISTS (SELECT 1 FROM failure AS f WHERE f.case_id = c.id)
        AND NOT EXISTS (SELECT 1 FROM way_out AS w WHERE w.case_id = c.id)
""")


def tables_of_gone(session: Session) -> list[str]:
    """Return the tables of invoices that left and of which something may be left."""
    return list(session.connection().execute(TABLES, {"prefix": GONE_PREFIX}).scalars())


def clear_piece(session: Session, gone: str, *, limit: int) -> int:
    """Remove what is left of up to `limit` invoices that left; return of how many. 0: the table of them is gone too."""
    connection = session.connection()
    row = connection.execute(text(PIECE.format(gone=gone)), {"limit": limit}).one()
    if not row.invoices:
        connection.execute(text(f"DROP TABLE {gone}"))
        return 0
    connection.execute(CASES, {"cases": row.cases})
    return int(row.invoices)
