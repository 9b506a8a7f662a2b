"""The statements by which workers take invoices; who may run them and when: claims.py.

`unfinished` is raised here, in the transaction that is committed before anything is done, and taken back by the record:
what is left of it counts how often nobody lived to tell.
"""

from sqlalchemy import text

# `shelf = 0` says nothing new of open invoices, but it completes the key: the planner knows then, on the first night
# too when it has no statistics, that a UUID finds one row by its index.
# Only the months since its submission are looked into; the day is for clocks that were not quite one.
SINCE_SUBMITTED = "started_at >= invoice.submitted_at - interval '1 day'"
CLAIM_UPLOADS = text("""
    WITH locked AS (
        SELECT id, state, last_upload_at FROM invoice_open
        WHERE id = ANY(:ids) AND epoch = :epoch AND state IN ('queued', 'waiting') AND lease_until > :now
        ORDER BY id FOR UPDATE
    ), claimed AS (
        UPDATE invoice_open AS invoice SET state = 'sending', lease_until = :until, due_at = NULL,
            uploads = uploads + 1, attempts = attempts + 1, unfinished = unfinished + 1, begun_epoch = :epoch,
            last_upload_at = :now, give_up_at = coalesce(give_up_at, :give_up_at), reason = NULL, changed_at = :now
        FROM locked WHERE invoice.id = locked.id AND shelf = 0
        RETURNING invoice.*, locked.state AS source, locked.last_upload_at AS earlier_upload_at
    ), noted AS (
        INSERT INTO event (invoice_id, at, kind, source, target, cause)
        SELECT id, :now, 'upload_begun', source, 'sending', 'upload ' || uploads || ' begins' FROM claimed
        RETURNING id AS event_id, invoice_id
    ), begun AS (
        INSERT INTO attempt (invoice_id, number, kind, epoch, started_at)
        SELECT id, attempts, 'upload', :epoch, :now FROM claimed RETURNING id AS attempt_id, invoice_id
    )
    SELECT claimed.*, begun.attempt_id, noted.event_id, document.kind AS document_kind
    FROM claimed JOIN begun ON begun.invoice_id = claimed.id JOIN noted ON noted.invoice_id = claimed.id
    -- One lookup each, in the month named: never a join that reads months of documents.
    LEFT JOIN LATERAL (SELECT kind FROM document
        WHERE sha256 = claimed.document_sha256 AND created_at = claimed.document_at LIMIT 1) AS document ON true
""")
LOCK_DOUBTS = text("SELECT 1 FROM invoice_open WHERE id = ANY(:ids) AND state = 'in_doubt' ORDER BY id FOR UPDATE")
CLAIM_PROBES = text("""
    WITH claimed AS (
        UPDATE invoice_open AS invoice SET lease_until = :until, due_at = :until, unfinished = unfinished + 1,
            attempts = attempts + 1, begun_epoch = :epoch, give_up_at = coalesce(give_up_at, :give_up_at),
            changed_at = :now
        WHERE id = ANY(:ids) AND epoch = :epoch AND state = 'in_doubt' AND lease_until > :now AND begun_epoch <> :epoch
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
            AND begun_epoch <> :epoch
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
# One statement for all that came back together: a row of `told` is one attempt and what follows from it. A late
# writer's attempt is finished all the same, its invoice is not touched.
RECORD = text("""
    WITH told AS (
        SELECT * FROM unnest(
            CAST(:ids AS uuid[]), CAST(:attempts AS bigint[]), CAST(:begun AS timestamptz[]),
            CAST(:sources AS text[]),
            CAST(:earlier_uploads AS timestamptz[]), CAST(:kinds AS text[]), CAST(:outcomes AS text[]),
            CAST(:http_statuses AS int[]), CAST(:error_codes AS text[]), CAST(:messages AS text[]),
            CAST(:operator_statuses AS text[]), CAST(:left_nothing AS boolean[]), CAST(:targets AS text[]),
            CAST(:reasons AS text[]), CAST(:held_for AS text[]), CAST(:due_at AS timestamptz[]), CAST(:tries AS int[]),
            CAST(:refusals AS text[]), CAST(:give_up_at AS timestamptz[]), CAST(:look_at AS timestamptz[]),
            CAST(:never_begun AS boolean[])
        ) AS t (invoice_id, attempt_id, begun_at, source, earlier_upload_at, kind, outcome, http_status, error_code,
            message, operator_status, left_nothing, target, reason, held_for, due_at, tries, refusal, give_up_at,
            look_at, never_begun)
    ), moved AS (
        UPDATE invoice_open AS invoice SET state = told.target, reason = told.reason, held_for = told.held_for,
            lease_until = NULL, due_at = told.due_at, tries = told.tries, refusal = told.refusal,
            give_up_at = told.give_up_at,
            operator_status = coalesce(told.operator_status, invoice.operator_status),
            accepted_at = CASE WHEN told.target = 'accepted' THEN coalesce(accepted_at, :now) ELSE accepted_at END,
            last_upload_at = CASE WHEN told.source <> 'sending' THEN last_upload_at
                WHEN told.left_nothing THEN told.earlier_upload_at ELSE :now END,
            attempts = attempts - CASE WHEN told.never_begun THEN 1 ELSE 0 END,
            uploads = uploads - CASE WHEN told.source = 'sending' AND told.left_nothing THEN 1 ELSE 0 END,
            unfinished = CASE
                WHEN told.source = 'sending' AND NOT told.never_begun THEN 0 ELSE greatest(unfinished - 1, 0) END,
            look_at = told.look_at, changed_at = :now,
            route_at = CASE WHEN told.target = 'refused' THEN CAST(:now AS timestamptz) ELSE route_at END
        FROM told
        WHERE invoice.id = told.invoice_id AND shelf = 0 AND epoch = :epoch AND state = told.source
            AND lease_until IS NOT NULL
        RETURNING invoice.id
    ), finished AS (
        UPDATE attempt SET finished_at = :now, outcome = told.outcome, http_status = told.http_status,
            error_code = told.error_code, message = told.message
        FROM told
        WHERE attempt.invoice_id = told.invoice_id AND attempt.id = told.attempt_id
            -- The first finds the row, the second names its month before anything is looked up.
            AND attempt.started_at = told.begun_at AND attempt.started_at = ANY(CAST(:begun AS timestamptz[]))
            AND NOT (told.never_begun AND told.invoice_id IN (SELECT id FROM moved))
    ), noted AS (
        INSERT INTO event (invoice_id, at, kind, source, target, cause)
        SELECT told.invoice_id, :now, told.kind, told.source, told.target, told.reason
        FROM told JOIN moved ON moved.id = told.invoice_id WHERE NOT told.never_begun
    )
    SELECT id FROM moved
""")
RECORDED = (
    "ids",
    "attempts",
    "begun",
    "sources",
    "earlier_uploads",
    "kinds",
    "outcomes",
    "http_statuses",
    "error_codes",
    "messages",
    "operator_statuses",
    "left_nothing",
    "targets",
    "reasons",
    "held_for",
    "due_at",
    "tries",
    "refusals",
    "give_up_at",
    "look_at",
    "never_begun",
)
"""The columns that the statement above takes as arrays."""
