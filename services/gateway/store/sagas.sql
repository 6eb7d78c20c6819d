-- What the gateway's flows write besides the statements of libs.saga, and how its rows are found.
-- Rows travel as one JSON array a statement; jsonb_populate_recordset gives each the table's own types.

-- name: write_attempts
-- Only whoever writes a subject's row, in the same transaction, writes its attempts: nobody else can insert them meanwhile.
WITH written AS MATERIALIZED (
    SELECT * FROM jsonb_populate_recordset(NULL::attempt, $1::jsonb)
), known AS (
    UPDATE attempt SET
        state = written.state, provider_ref = written.provider_ref, code = written.code,
        latency_ms = written.latency_ms, fee_minor = written.fee_minor, sent_at = written.sent_at,
        answered_at = written.answered_at
    FROM written WHERE attempt.subject_id = written.subject_id AND attempt.number = written.number
    RETURNING attempt.subject_id, attempt.number
)
INSERT INTO attempt
    (subject_id, number, attempt_id, operation, channel_id, out_ref, state, provider_ref, code,
     latency_ms, fee_minor, sent_at, answered_at)
SELECT subject_id, number, attempt_id, operation, channel_id, out_ref, state, provider_ref, code,
       latency_ms, fee_minor, sent_at, answered_at
FROM written WHERE (subject_id, number) NOT IN (SELECT subject_id, number FROM known)

-- name: reserve_refund
-- The row lock of this update is what makes two refunds at once take turns.
UPDATE payment SET refunded_minor = refunded_minor + $2, version = version + 1, updated_at = $3
WHERE payment_id = $1 AND state = 'SUCCEEDED' AND refunded_minor + $2 <= captured_minor
RETURNING *

-- name: give_back_refund
UPDATE payment SET refunded_minor = refunded_minor - $2, version = version + 1, updated_at = $3
WHERE payment_id = $1

-- name: reserve_capture
-- Likewise for two captures at once; after a final one nothing more is taken.
UPDATE payment SET capturing_minor = capturing_minor + $2, version = version + 1, updated_at = $3
WHERE payment_id = $1 AND state = 'AUTHORIZED' AND NOT is_captured AND captured_minor + capturing_minor + $2 <= amount_minor
RETURNING *

-- name: give_back_capture
UPDATE payment SET capturing_minor = capturing_minor - $2, version = version + 1, updated_at = $3
WHERE payment_id = $1

-- name: settle_capture
-- An authorised payment of which no more will be captured is due at once: its own flow ends it.
UPDATE payment SET capturing_minor = capturing_minor - $2, captured_minor = captured_minor + $2,
    is_captured = is_captured OR $4 OR captured_minor + $2 = amount_minor,
    next_run_at = CASE
        WHEN state = 'AUTHORIZED' AND (is_captured OR $4 OR captured_minor + $2 = amount_minor) THEN $3
        ELSE next_run_at END,
    version = version + 1, updated_at = $3
WHERE payment_id = $1

-- name: get_attempts
SELECT * FROM attempt WHERE subject_id = ANY ($1::text[]) ORDER BY subject_id, number

-- name: find_attempt
SELECT * FROM attempt WHERE channel_id = $1 AND out_ref = $2

-- name: nudge_payments_in_review
UPDATE payment SET next_run_at = $2, version = version + 1
WHERE evaluation_id = ANY ($1::text[]) AND state = 'REVIEW'

-- name: nudge_payouts_in_review
UPDATE payout SET next_run_at = $2, version = version + 1
WHERE evaluation_id = ANY ($1::text[]) AND state = 'REVIEW'

-- name: find_capture
SELECT * FROM capture WHERE merchant_id = $1 AND request_id = $2

-- name: find_refund
SELECT * FROM refund WHERE merchant_id = $1 AND request_id = $2

-- name: get_payments
SELECT * FROM payment WHERE payment_id = ANY ($1::text[])

-- name: get_payouts
SELECT * FROM payout WHERE payout_id = ANY ($1::text[])

-- name: list_payments
SELECT * FROM payment
WHERE ($1 = '' OR merchant_id = $1) AND ($2 = '' OR payment_id < $2)
  AND (cardinality($3::text[]) = 0 OR state = ANY ($3::text[])) AND ($4 = '' OR order_ref = $4)
ORDER BY payment_id DESC LIMIT $5

-- name: list_refunds
SELECT * FROM refund
WHERE merchant_id = $1 AND ($2 = '' OR refund_id < $2) AND ($3 = '' OR payment_id = $3)
ORDER BY refund_id DESC LIMIT $4

-- name: list_captures
SELECT * FROM capture
WHERE merchant_id = $1 AND ($2 = '' OR capture_id < $2) AND ($3 = '' OR payment_id = $3)
ORDER BY capture_id DESC LIMIT $4

-- name: list_payouts
SELECT * FROM payout
WHERE merchant_id = $1 AND ($2 = '' OR payout_id < $2)
ORDER BY payout_id DESC LIMIT $3

-- name: open_cases
INSERT INTO manual_case (case_id, subject_id, merchant_id, reason, opened_at, resolution)
SELECT case_id, subject_id, merchant_id, reason, $2, ''
FROM jsonb_to_recordset($1::jsonb) AS opened (case_id text, subject_id text, merchant_id text, reason text)
ON CONFLICT (subject_id, reason) WHERE closed_at IS NULL DO NOTHING

-- name: close_cases
UPDATE manual_case SET closed_at = $2, resolution = closed.resolution
FROM jsonb_to_recordset($1::jsonb) AS closed (subject_id text, resolution text, reason text)
WHERE manual_case.subject_id = closed.subject_id AND manual_case.closed_at IS NULL
    AND closed.reason IN ('', manual_case.reason)

-- name: callback_backlog
SELECT result AS state, count(*) AS count, min(received_at) AS oldest_at FROM callback_inbox
WHERE result NOT IN ('APPLIED', 'DUPLICATE', 'NOTICED') GROUP BY result

-- name: unknown_by_channel
SELECT channel_id, count(*) AS count FROM open_subject
WHERE state = 'UNKNOWN' OR reason = 'OUTCOME_UNKNOWN' GROUP BY channel_id

-- name: bill_told
INSERT INTO bill_told (channel_id, business_date, told_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING

-- name: is_bill_told
SELECT EXISTS (SELECT FROM bill_told WHERE channel_id = $1 AND business_date = $2)

-- name: unknown_attempts
-- Without a definite word, and sent in this span. What has ended has had its word.
SELECT attempt.* FROM open_subject JOIN attempt USING (subject_id)
WHERE open_subject.created_at < $3 AND attempt.channel_id = $1
  AND attempt.state IN ('SENT', 'PENDING', 'UNKNOWN') AND attempt.sent_at >= $2 AND attempt.sent_at < $3
ORDER BY subject_id, number LIMIT $4

-- name: events_of
-- An event's id begins with its subject's: the next sign after the dash bounds the span of all of them.
SELECT type, occurred_at FROM event_log
WHERE event_id >= $1::text || '-' AND event_id < $1::text || '.' AND subject_id = $1 ORDER BY seq
