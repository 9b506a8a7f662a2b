"""The statements by which workers take invoices; who may run them and when: claims.py.

`unfinished` is raised here, in the transaction that is committed before anything is done, and taken back by the record:
what is left of it counts how often nobody lived to tell.
"""

from sqlalchemy import text

# Only the months since its submission are looked into; the day is for clocks that were not quite one.
SINCE_SUBMITTED = "started_at >= invoice.submitted_at - interval '1 day'"
CLAIM_UPLOADS = text("""
    WITH locked AS (
        SELECT id, state, last_upload_at FROM invoice_open
        WHERE id = ANY(:ids) AND epoch = :epoch AND state IN ('queued', 'waiting') AND lease_until > :now
        ORDER BY id FOR UPDATE
    ), claimed AS (
        UPDATE invoice_open AS invoice SET state = 'sending', lease_until = :until, due_at = NULL,
            uploads = uploads + 1, attempts = attempts + 1, unfinished = unfinished + 1, last_upload_at = :now,
            give_up_at = coalesce(give_up_at, :give_up_at),
            reason = NULL, changed_at = :now
        FROM locked WHERE invoice.id = locked.id
        RETURNING invoice.*, locked.state AS source, locked.last_upload_at AS earlier_upload_at
    ), noted AS (
        INSERT INTO event (invoice_id, at, kind, source, target, cause)
        SELECT id, :now, 'upload_begun', source, 'sending', 'upload ' || uploads || ' begins' FROM claimed
        RETURNING id AS event_id, invoice_id
    ), begun AS (
        INSERT INTO attempt (invoice_id, number, kind, epoch, started_at)
        SELECT id, attempts, 'upload', :epoch, :now FROM claimed RETURNING id AS attempt_id, invoice_id
    )
    SELECT claimed.*, begun.attempt_id, noted.event_id, document.content, document.kind AS document_kind
    FROM claimed JOIN begun ON begun.invoice_id = claimed.id JOIN noted ON noted.invoice_id = claimed.id
    -- One lookup each, in the month named: never a join that reads months of documents.
    CROSS JOIN LATERAL (SELECT content, kind FROM document
        WHERE sha256 = claimed.document_sha256 AND created_at = claimed.document_at LIMIT 1) AS document
""")
LOCK_DOUBTS = text("SELECT 1 FROM invoice_open WHERE id = ANY(:ids) AND state = 'in_doubt' ORDER BY id FOR UPDATE")
CLAIM_PROBES = text(f"""
    WITH claimed AS (
        UPDATE invoice_open AS invoice SET lease_until = :until, due_at = :until, unfinished = unfinished + 1,
            attempts = attempts + 1, give_up_at = coalesce(give_up_at, :give_up_at), changed_at = :now
        WHERE id = ANY(:ids) AND epoch = :epoch AND state = 'in_doubt' AND lease_until > :now
            AND NOT EXISTS (SELECT 1 FROM attempt WHERE invoice_id = invoice.id AND epoch = :epoch
                AND {SINCE_SUBMITTED})
        RETURNING invoice.*
    ), noted AS (
        INSERT INTO event (invoice_id, at, kind, source, target, cause)
        SELECT id, :now, 'probe_begun', 'in_doubt', 'in_doubt', 'asking the operator whether it holds the UUID'
        FROM claimed RETURNING id AS event_id, invoice_id
    ), begun AS (
        INSERT INTO attempt (invoice_id, number, kind, epoch, started_at)
        SELECT id, attempts, 'probe', :epoch, :now FROM claimed RETURNING id AS attempt_id, invoice_id
    )
    SELECT claimed.*, claimed.state AS source, claimed.last_upload_at AS earlier_upload_at, begun.attempt_id,
        noted.event_id, (
            SELECT max(finished_at) FROM attempt
            WHERE invoice_id = claimed.id AND kind = 'upload' AND outcome = 'accepted'
                AND started_at >= claimed.submitted_at - interval '1 day') AS promised_at
    FROM claimed JOIN begun ON begun.invoice_id = claimed.id JOIN noted ON noted.invoice_id = claimed.id
""")
# Deaths in the middle of an upload do not count here: the probe after them says whether the operator holds it.
SET_ASIDE = text(f"""
    WITH poisoned AS (
        SELECT id FROM invoice_open AS invoice
        WHERE id = ANY(:ids) AND epoch = :epoch AND state = 'in_doubt' AND lease_until > :now AND unfinished >= :deaths
            AND NOT EXISTS (SELECT 1 FROM attempt WHERE invoice_id = invoice.id AND epoch = :epoch
                AND {SINCE_SUBMITTED})
            AND (
                SELECT count(*) FROM (
                    SELECT kind, outcome FROM attempt WHERE invoice_id = invoice.id AND {SINCE_SUBMITTED}
                    ORDER BY number DESC LIMIT :deaths
                ) AS latest WHERE kind = 'probe' AND outcome IS NULL
            ) = :deaths
    ), held AS (
        UPDATE invoice_open AS invoice SET state = 'held', held_for = 'person', lease_until = NULL, due_at = NULL,
            give_up_at = NULL, tries = 0, changed_at = :now,
            reason = 'asking about it ended the worker ' || :deaths || ' times, so whether the operator holds it is '
                || 'not known; set aside so that the rest goes on; look at the document (' || format || ', ' || size
                || ' bytes) and for its UUID at the operator, then `postiljon release`'
        FROM poisoned WHERE invoice.id = poisoned.id RETURNING invoice.id, invoice.reason
    )
    INSERT INTO event (invoice_id, at, kind, source, target, cause)
    SELECT id, :now, 'set_aside', 'in_doubt', 'held', reason FROM held
""")
