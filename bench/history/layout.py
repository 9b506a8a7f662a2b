"""Where the rows of a history go: the one place that knows the layout of the tables.

Each statement takes its invoices from the temporary table `drawn`, one row an invoice (see DRAW), and what its way
leaves from `event_step`, `attempt_step` and `action_step`.
"""

from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlmodel import Session

from pipeline.storage import partitions

INDEXED: Final = (
    "invoice_key",
    "invoice",
    "attempt",
    "event",
    "operator_action",
    "document",
    "failure",
    "route_case",
    "way_out",
)
"""Whose indexes are dropped before much is written and made anew after."""

STEPS: Final = """
CREATE TEMP TABLE way_of (no int, name text, state text, reason text, uploads int, tries int, accepted bool,
    cased bool);
CREATE TEMP TABLE event_step (way text, no int, kind text, source text, target text, cause text, instant int);
CREATE TEMP TABLE attempt_step (way text, no int, kind text, outcome text, http_status int, error_code text,
    message text);
CREATE TEMP TABLE action_step (way text, no int, type text, key text, channel text, message text, instant int);
CREATE TEMP TABLE company_of (no int, id uuid, name text);
"""

DRAW: Final = """
CREATE TEMP TABLE drawn ON COMMIT DROP AS
WITH numbered AS (
    SELECT g, (hashint8extended(g, {seed} + 1) & 2147483647) / 2147483648.0 AS one,
        hashint8extended(g, {seed} + 2) & 2147483647 AS two, hashint8extended(g, {seed} + 3) & 2147483647 AS three,
        (g - {first}) * {months} / ({last} - {first})::float8 AS month,
        g % {pair_every} = {pair_place} AND g + 1 < {last} AS is_old,
        g % {pair_every} = {pair_place} + 1 AND g > {first} AS is_new
    FROM generate_series({begin}::bigint, {end}::bigint - 1) AS g
), placed AS (
    SELECT *, width_bucket(CASE WHEN is_new THEN (hashint8extended(g - 1, {seed} + 1) & 2147483647) / 2147483648.0
            ELSE one END, {shares}::float8[]) + 1 AS company_no,
        timestamptz '{begins_at}' + floor(month)::int * interval '1 month' + CASE WHEN month - floor(month) < {night}
            THEN interval '2 hours' + (month - floor(month)) / {night} * interval '3 hours'
            ELSE interval '1 day' + (month - floor(month) - {night}) / (1 - {night}) * interval '26 days' END AS at,
        month - floor(month) < {night} AS is_night,
        CASE WHEN is_old THEN {superseded} WHEN is_new THEN 1
            ELSE width_bucket(two % 10000, {ways}::int[]) END AS way_no
    FROM numbered
), timed AS (
    SELECT placed.*, at + (0.5 + (two % 1000) / 1000.0 * CASE WHEN is_night THEN 300 ELSE 3 END) * interval '1 second'
        AS begun FROM placed
)
SELECT g, {key} AS id, CASE WHEN is_new THEN {earlier_key} END AS supersedes, company_of.id AS company_id,
    company_of.name AS company_name, CASE WHEN is_night THEN batch.id END AS batch_id,
    CASE WHEN is_night THEN batch.name END AS batch_name, CASE WHEN is_old THEN {later_key} END AS successor,
    way_of.name AS way, state, reason, uploads, tries, accepted, cased, two, three,
    'invoice-' || (10000000 + g) || '.xml' AS filename, (10000000 + g)::text AS number,
    sha256(convert_to('{seed}:' || g % {documents}, 'UTF8')) AS sha256,
    ARRAY[at, begun, begun + (80 + three % 400) * interval '1 millisecond',
        begun + (2 + three % 3600) * interval '1 second',
        begun + (2 + three % 3600) * interval '1 second' + interval '1 day'] AS times,
    {epoch} + g / 100 AS epoch
FROM timed JOIN company_of ON company_of.no = company_no JOIN way_of ON way_of.no = way_no
LEFT JOIN batch ON batch.company_id = company_of.id AND batch.name = to_char(at, 'YYYY-MM')
"""
KEY: Final = "CAST(overlay(overlay(md5('{seed}:' || {g}) PLACING '5' FROM 13) PLACING 'a' FROM 17) AS uuid)"

BATCHES: Final = """
    INSERT INTO batch (company_id, name, created_at)
    SELECT company_of.id, to_char(at, 'YYYY-MM'), at + interval '2 hours'
    FROM company_of CROSS JOIN generate_series(0, {months} - 1) AS m
    CROSS JOIN LATERAL (SELECT timestamptz '{begins_at}' + m * interval '1 month') AS months (at)
    ON CONFLICT DO NOTHING
"""
DOCUMENTS: Final = """
    INSERT INTO document (sha256, content, size, kind, created_at)
    SELECT sha256, content, length(content), 'XML', times[1] FROM drawn CROSS JOIN LATERAL (
        SELECT convert_to('<Finvoice Version="3.0"><InvoiceNumber>' || number || '</InvoiceNumber><!--'
            || repeat(md5(number), {document_bytes} / 32) || '--></Finvoice>', 'UTF8') AS content) AS written
    WHERE g < {documents}
"""
INVOICES: Final = """
    WITH used AS (INSERT INTO invoice_key SELECT id FROM drawn)
    INSERT INTO invoice (id, shelf, company_id, batch_id, document_sha256, document_at, size, filename, options, state,
        reason, epoch, uploads, attempts, tries, last_upload_at, operator_status, operator_state, channel, seen_at,
        supersedes, looks, number, format, issue_date, total, currency, seller_name, buyer_name, submitted_at,
        accepted_at, changed_at)
    SELECT id, CAST(to_char(times[4] + interval '45 days', 'YYYYMM') AS int), company_id, batch_id, sha256,
        CASE WHEN g < {documents} THEN times[1] END, 4000 + three % 20000, filename, '{{}}', state, reason, epoch,
        uploads, (SELECT count(*) FROM attempt_step AS s WHERE s.way = drawn.way), tries,
        CASE WHEN uploads > 0 THEN times[3] END,
        CASE WHEN accepted THEN CASE state WHEN 'delivered' THEN 'DELIVERED' ELSE 'FAILED' END END,
        CASE WHEN accepted THEN CASE state WHEN 'delivered' THEN 1 ELSE 99 END END,
        CASE WHEN accepted THEN 'EINVOICE' END, CASE WHEN accepted THEN times[4] + interval '14 days' END, supersedes,
        CASE WHEN accepted THEN 62 ELSE 0 END, number, CASE two % 3 WHEN 0 THEN 'PEPPOL_BIS' ELSE 'FINVOICE' END,
        CAST(times[1] AS date), (two % 5000000) / 100.0, 'EUR', company_name, 'Asiakas ' || three % 50000 || ' Oy',
        times[1], CASE WHEN accepted THEN times[3] END,
        CASE state WHEN 'delivered' THEN times[4] WHEN 'failed' THEN times[4] WHEN 'cancelled' THEN times[2]
            ELSE times[5] END
    FROM drawn ORDER BY g
"""
ATTEMPTS: Final = """
    INSERT INTO attempt (invoice_id, number, kind, epoch, started_at, finished_at, outcome, http_status, error_code,
        message)
    SELECT id, no, kind, epoch, times[2], times[3], outcome, http_status, error_code, message
    FROM drawn JOIN attempt_step USING (way)
"""
EVENTS: Final = """
    INSERT INTO event (invoice_id, at, kind, source, target, cause)
    SELECT id, times[instant], kind, source, target, replace(cause, '{{file}}', filename)
        || CASE WHEN no = 1 AND batch_name IS NOT NULL THEN ' in batch ' || batch_name ELSE '' END
    FROM drawn JOIN event_step USING (way) ORDER BY g, no
"""
ACTIONS: Final = """
    INSERT INTO operator_action (invoice_id, happened_at, type, channel, key, message, read_at)
    SELECT id, times[instant], type, channel, key, message, times[instant] + interval '2 seconds'
    FROM drawn JOIN action_step USING (way)
"""
# A case goes over to the successor; the failure stays with the invoice that failed.
CASES: Final = """
    WITH opened AS (
        INSERT INTO route_case (company_id, invoice_id, status, round, cause, owner, verdict, verdict_version, words,
            advice, ways, failed_at, opened_at, changed_at, closed_reason)
        SELECT company_id, coalesce(successor, id), CASE WHEN successor IS NULL THEN 'closed' ELSE 'resolved' END, 1,
            'recipient_address', 'accountant', 'not-enough-recipient-details', '1',
            'The invoice says too little about the recipient to be sent anywhere.',
            'Give an e-invoice address, an e-mail address or a full postal address.',
            ARRAY['einvoice', 'email', 'print', 'resend', 'close'], times[4], times[4], times[5],
            CASE WHEN successor IS NULL THEN 'sent by hand' END
        FROM drawn WHERE cased OR successor IS NOT NULL RETURNING id, invoice_id
    ), told AS (
        INSERT INTO failure (case_id, invoice_id, at, refused, told, key, channel, cause, owner, verdict,
            verdict_version)
        SELECT opened.id, drawn.id, times[4], state = 'refused', reason, 'action_route_failed', 'EINVOICE',
            'recipient_address', 'accountant', 'not-enough-recipient-details', '1'
        FROM drawn JOIN opened ON opened.invoice_id = coalesce(successor, drawn.id)
        WHERE cased OR successor IS NOT NULL
    )
    INSERT INTO way_out (case_id, invoice_id, kind, fields, chosen_by, successor_id, status, not_before, epoch, asked,
        planned_at, finished_at)
    SELECT opened.id, drawn.id, 'resend', '{{}}', 'a person', successor, 'done', times[4], epoch, 1, times[4], times[5]
    FROM drawn JOIN opened ON opened.invoice_id = successor
"""
COUNTERS: Final = """
    INSERT INTO tally_delta (subject, company_id, batch_id, name, n)
    SELECT 'invoice', company_id, coalesce(batch_id, 0), state, count(*) FROM drawn GROUP BY 2, 3, 4
    UNION ALL
    SELECT 'case', company_id, 0, CASE WHEN successor IS NULL THEN 'closed' ELSE 'resolved' END || '/accountant',
        count(*) FROM drawn WHERE cased OR successor IS NOT NULL GROUP BY 2, 4
"""
BATCH_COUNTERS: Final = """
    INSERT INTO batch_delta (batch_id, total, delivered, failed, cancelled, superseded, submitted_at)
    SELECT batch_id, count(*), count(*) FILTER (WHERE state = 'delivered'),
        count(*) FILTER (WHERE state IN ('failed', 'refused')), count(*) FILTER (WHERE state = 'cancelled'),
        count(*) FILTER (WHERE state = 'superseded'), max(times[1])
    FROM drawn WHERE batch_id IS NOT NULL GROUP BY batch_id
"""
CLOSE_BATCHES: Final = """
    WITH taken AS (
        DELETE FROM batch_delta RETURNING *
    ), summed AS (
        SELECT batch_id, sum(total) AS total, sum(delivered) AS delivered, sum(failed) AS failed,
            sum(cancelled) AS cancelled, sum(superseded) AS superseded, max(submitted_at) AS at
        FROM taken GROUP BY batch_id
    )
    UPDATE batch AS b SET total = b.total + s.total, delivered = b.delivered + s.delivered,
        failed = b.failed + s.failed, cancelled = b.cancelled + s.cancelled, superseded = b.superseded + s.superseded,
        submitted_at = s.at, closed_at = s.at, completed_at = s.at + interval '2 days',
        completed_total = b.total + s.total
    FROM summed AS s WHERE b.id = s.batch_id
"""
STATEMENTS: Final = (DOCUMENTS, INVOICES, ATTEMPTS, EVENTS, ACTIONS, CASES, COUNTERS, BATCH_COUNTERS)

SIZES: Final = """
    SELECT t.relname AS name, sum(pg_relation_size(p.oid)) AS heap, sum(pg_indexes_size(p.oid)) AS indexes,
        sum(pg_total_relation_size(p.oid) - pg_relation_size(p.oid) - pg_indexes_size(p.oid)) AS toast
    FROM pg_class AS t CROSS JOIN LATERAL (
        SELECT relid AS oid FROM pg_partition_tree(t.oid) WHERE isleaf
        UNION SELECT t.oid WHERE t.relkind = 'r') AS p
    WHERE t.relnamespace = CAST('public' AS regnamespace) AND t.relkind IN ('r', 'p') AND NOT t.relispartition
    GROUP BY 1 ORDER BY sum(pg_total_relation_size(p.oid)) DESC
"""
# Work that waits: submitted a moment ago, due at once.
BACKLOG: Final = """
    WITH numbered AS (
        SELECT g, company_of.id AS company_id, company_of.name AS company_name, {key} AS id,
            timestamptz '{at}' + g * interval '1 microsecond' AS at
        FROM generate_series({begin}::bigint, {end}::bigint - 1) AS g
        JOIN company_of ON company_of.no = width_bucket(
            (hashint8extended(g, {seed} + 1) & 2147483647) / 2147483648.0, {shares}::float8[]) + 1
    ), kept AS (
        INSERT INTO document (sha256, content, size, kind, created_at)
        VALUES (sha256(convert_to('waiting', 'UTF8')), convert_to('<Finvoice/>', 'UTF8'), 11, 'XML', '{at}')
        ON CONFLICT DO NOTHING
    ), told AS (
        INSERT INTO event (invoice_id, at, kind, target, cause)
        SELECT id, at, 'submitted', 'queued', 'submitted as invoice.xml' FROM numbered
    ), counted AS (
        INSERT INTO tally_delta (subject, company_id, batch_id, name, n)
        SELECT 'invoice', company_id, 0, 'queued', count(*) FROM numbered GROUP BY 2
    ), used AS (
        INSERT INTO invoice_key SELECT id FROM numbered
    )
    INSERT INTO invoice_open (id, company_id, document_sha256, document_at, size, filename, options, state, epoch,
        due_at, uploads, tries, looks, format, seller_name, submitted_at, changed_at)
    SELECT id, company_id, sha256(convert_to('waiting', 'UTF8')), '{at}', 11, 'invoice.xml', '{{}}', 'queued', 0, at,
        0, 0, 0, 'FINVOICE', company_name, at, at
    FROM numbered
"""


def make_past_months(session: Session, *, since: datetime, now: datetime) -> None:
    """Give empty tables the parts that they would have if they were in use since an instant."""
    connection = session.connection()
    for table in (*partitions.MONTHLY, "invoice"):
        for name in partitions.part_names(connection, table):
            if name.removeprefix(f"{table}_")[:4].isdigit():
                connection.execute(text(f"DROP TABLE {name}"))
    months = (now.year - since.year) * 12 + now.month - since.month
    partitions.make_months(connection, now=since, ahead=months + partitions.MONTHS_AHEAD)
