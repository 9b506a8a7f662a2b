"""Of which table what is removed when a customer's data is expunged: the lines that are hashed, and the statement.

Each line is a JSON array as PostgreSQL writes it: the key of the row and what is removed of it, in the order of keys.
Parameters: `ids` (invoices), `cases`, `orders` (of those cases alone), `word` (what stands in the place of a text).
"""

from dataclasses import dataclass

from sqlalchemy import text

WORD = "expunged"
_IDS = "ANY(CAST(:ids AS uuid[]))"
_CASES = "ANY(CAST(:cases AS bigint[]))"
_ORDERS = "ANY(CAST(:orders AS bigint[]))"
_WORD = "CAST(:word AS text)"
_MINE = f"""
    SELECT document_sha256 AS sha256, document_at AS at FROM invoice WHERE id = {_IDS}
    UNION ALL SELECT document_sha256, NULL FROM way_out WHERE case_id = {_CASES} AND document_sha256 IS NOT NULL
"""
# Where it is not known when a document came, every copy of it is meant.
_OWN = f"EXISTS (SELECT 1 FROM ({_MINE}) AS m WHERE m.sha256 = d.sha256 AND (m.at IS NULL OR m.at = d.created_at))"
_OTHERS = """
    EXISTS (SELECT 1 FROM invoice AS o WHERE o.document_sha256 = d.sha256
        AND (o.document_at IS NULL OR o.document_at = d.created_at) AND o.id <> ALL(CAST(:ids AS uuid[])))
"""
_HEADER = ("number", "reference", "filename", "buyer_name", "seller_name", "issue_date", "total", "currency", "options")
CASES = text(f"""
    SELECT id FROM route_case WHERE invoice_id = {_IDS} UNION SELECT case_id FROM failure WHERE invoice_id = {_IDS}
    UNION SELECT case_id FROM way_out WHERE invoice_id = {_IDS} ORDER BY 1
""")
# An order speaks of a customer when it was given for his cases and no others.
ORDERS = text(f"""
    SELECT order_id FROM way_out WHERE order_id IN (SELECT order_id FROM way_out WHERE case_id = {_CASES})
    GROUP BY order_id HAVING bool_and(case_id = {_CASES}) ORDER BY 1
""")
SHARED_DOCUMENTS = text(f"SELECT count(*) FROM document AS d WHERE {_OWN}")


@dataclass(frozen=True, kw_only=True)
class Step:
    """What is removed of one table."""

    table: str
    lines: str
    remove: str


def _lines(table: str, columns: str, where: str, order: str) -> str:
    return f"SELECT CAST(jsonb_build_array({columns}) AS text) FROM {table} WHERE {where} ORDER BY {order}"


STEPS = (
    # First: it looks for what the next ones clear.
    Step(
        table="document",
        lines=_lines(
            "document AS d",
            "encode(sha256(content), 'hex'), created_at, size",
            f"{_OWN} AND NOT {_OTHERS}",
            "sha256, created_at",
        ),
        remove=f"DELETE FROM document AS d WHERE {_OWN} AND NOT {_OTHERS}",
    ),
    Step(
        table="invoice",
        lines=_lines("invoice", f"id, {', '.join(_HEADER)}, reason, refusal", f"id = {_IDS}", "id"),
        remove=f"""
            UPDATE invoice SET number = NULL, reference = NULL, filename = {_WORD}, buyer_name = NULL,
                seller_name = NULL, issue_date = NULL, total = NULL, currency = NULL, options = '{{}}',
                reason = CASE WHEN reason IS NOT NULL THEN {_WORD} END,
                refusal = CASE WHEN refusal IS NOT NULL THEN {_WORD} END
            WHERE id = {_IDS}""",
    ),
    Step(
        table="attempt",
        lines=_lines(
            "attempt", "invoice_id, id, message", f"invoice_id = {_IDS} AND message IS NOT NULL", "invoice_id, id"
        ),
        remove=f"UPDATE attempt SET message = {_WORD} WHERE invoice_id = {_IDS} AND message IS NOT NULL",
    ),
    Step(
        table="event",
        lines=_lines("event", "invoice_id, id, cause", f"invoice_id = {_IDS}", "invoice_id, id"),
        remove=f"UPDATE event SET cause = {_WORD} WHERE invoice_id = {_IDS}",
    ),
    Step(
        table="operator_action",
        lines=_lines(
            "operator_action", "id, invoice_id, happened_at, type, channel, key, message", f"invoice_id = {_IDS}", "id"
        ),
        remove=f"DELETE FROM operator_action WHERE invoice_id = {_IDS}",
    ),
    Step(
        table="route_case",
        lines=_lines("route_case", "id, words, advice, plan, closed_reason", f"id = {_CASES}", "id"),
        remove=f"""
            UPDATE route_case SET words = {_WORD}, advice = {_WORD}, plan = CASE WHEN plan IS NOT NULL THEN {_WORD} END,
                closed_reason = CASE WHEN closed_reason IS NOT NULL THEN {_WORD} END
            WHERE id = {_CASES}""",
    ),
    Step(
        table="failure",
        lines=_lines("failure", "id, told", f"case_id = {_CASES} AND told IS NOT NULL", "id"),
        remove=f"UPDATE failure SET told = {_WORD} WHERE case_id = {_CASES} AND told IS NOT NULL",
    ),
    Step(
        table="way_out",
        lines=_lines("way_out", "id, fields, reason, outcome, document_filename", f"case_id = {_CASES}", "id"),
        remove=f"""
            UPDATE way_out SET fields = '{{}}', reason = CASE WHEN reason IS NOT NULL THEN {_WORD} END,
                outcome = CASE WHEN outcome IS NOT NULL THEN {_WORD} END,
                document_filename = CASE WHEN document_filename IS NOT NULL THEN {_WORD} END
            WHERE case_id = {_CASES}""",
    ),
    Step(
        table="route_order",
        lines=_lines("route_order", "id, chosen, why", f"id = {_ORDERS}", "id"),
        remove=f"""
            UPDATE route_order SET chosen = '{{}}', why = CASE WHEN why IS NOT NULL THEN {_WORD} END
            WHERE id = {_ORDERS}""",
    ),
    Step(
        table="alarm",
        lines=_lines("alarm", "id, told", f"invoice_id = {_IDS}", "id"),
        remove=f"UPDATE alarm SET told = {_WORD} WHERE invoice_id = {_IDS}",
    ),
)
