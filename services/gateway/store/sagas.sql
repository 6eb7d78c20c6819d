Rows travel as one JSON array a statement; jsonb_populate_recordset gives each the table's own types.

-- name: insert_payments
INSERT INTO payment SELECT * FROM jsonb_populate_recordset(NULL::payment, $1::jsonb)
ON CONFLICT (merchant_id, request_id) DO NOTHING
RETURNING payment_id

-- name: insert_refunds
INSERT INTO refund SELECT * FROM jsonb_populate_recordset(NULL::refund, $1::jsonb)
ON CONFLICT (merchant_id, request_id) DO NOTHING
RETURNING refund_id

-- name: insert_payouts
INSERT INTO payout SELECT * FROM jsonb_populate_recordset(NULL::payout, $1::jsonb)
ON CONFLICT (merchant_id, request_id) DO NOTHING
RETURNING payout_id

-- name: find_payments_by_request
SELECT payment.* FROM payment
JOIN unnest($1::text[], $2::text[]) AS asked (merchant_id, request_id) USING (merchant_id, request_id)

-- name: find_refunds_by_request
SELECT refund.* FROM refund
JOIN unnest($1::text[], $2::text[]) AS asked (merchant_id, request_id) USING (merchant_id, request_id)

-- name: find_payouts_by_request
SELECT payout.* FROM payout
JOIN unnest($1::text[], $2::text[]) AS asked (merchant_id, request_id) USING (merchant_id, request_id)

-- name: update_payments
UPDATE payment SET
    state = new.state, reason = new.reason, channel_id = new.channel_id, attempts_count = new.attempts_count,
    query_count = new.query_count, qr_content = new.qr_content, cancel_requested = new.cancel_requested,
    updated_at = new.updated_at, succeeded_at = new.succeeded_at, expires_at = new.expires_at,
    hard_deadline_at = new.hard_deadline_at, next_run_at = new.next_run_at, version = new.version
FROM jsonb_populate_recordset(NULL::payment, $1::jsonb) AS new
WHERE payment.payment_id = new.payment_id AND payment.version = new.version - 1 AND payment.epoch = new.epoch
RETURNING payment.payment_id

-- name: update_refunds
UPDATE refund SET
    state = new.state, reason = new.reason, query_count = new.query_count, updated_at = new.updated_at,
    succeeded_at = new.succeeded_at, next_run_at = new.next_run_at, version = new.version
FROM jsonb_populate_recordset(NULL::refund, $1::jsonb) AS new
WHERE refund.refund_id = new.refund_id AND refund.version = new.version - 1 AND refund.epoch = new.epoch
RETURNING refund.refund_id

-- name: update_payouts
UPDATE payout SET
    state = new.state, reason = new.reason, channel_id = new.channel_id, attempts_count = new.attempts_count,
    query_count = new.query_count, updated_at = new.updated_at, succeeded_at = new.succeeded_at,
    hard_deadline_at = new.hard_deadline_at, next_run_at = new.next_run_at, version = new.version
FROM jsonb_populate_recordset(NULL::payout, $1::jsonb) AS new
WHERE payout.payout_id = new.payout_id AND payout.version = new.version - 1 AND payout.epoch = new.epoch
RETURNING payout.payout_id

-- name: lock_payments
SELECT FROM payment WHERE payment_id = ANY ($1::text[]) ORDER BY payment_id FOR UPDATE

-- name: lock_refunds
SELECT FROM refund WHERE refund_id = ANY ($1::text[]) ORDER BY refund_id FOR UPDATE

-- name: lock_payouts
SELECT FROM payout WHERE payout_id = ANY ($1::text[]) ORDER BY payout_id FOR UPDATE

-- name: upsert_attempts
INSERT INTO attempt
    (subject_id, number, attempt_id, operation, channel_id, out_ref, state, provider_ref, code,
     latency_ms, fee_minor, sent_at, answered_at)
SELECT subject_id, number, attempt_id, operation, channel_id, out_ref, state, provider_ref, code,
       latency_ms, fee_minor, sent_at, answered_at
FROM jsonb_populate_recordset(NULL::attempt, $1::jsonb)
ON CONFLICT (subject_id, number) DO UPDATE SET
    state = excluded.state, provider_ref = excluded.provider_ref, code = excluded.code,
    latency_ms = excluded.latency_ms, fee_minor = excluded.fee_minor, answered_at = excluded.answered_at

-- name: reserve_refund
-- The row lock of this update is what makes two refunds at once take turns.
UPDATE payment SET refunded_minor = refunded_minor + $2, version = version + 1, updated_at = $3
WHERE payment_id = $1 AND state = 'SUCCEEDED' AND refunded_minor + $2 <= amount_minor
RETURNING *

-- name: give_back_refund
UPDATE payment SET refunded_minor = refunded_minor - $2, version = version + 1, updated_at = $3
WHERE payment_id = $1

-- name: get_payment
SELECT * FROM payment WHERE payment_id = $1

-- name: get_refund
SELECT * FROM refund WHERE refund_id = $1

-- name: get_payout
SELECT * FROM payout WHERE payout_id = $1

-- name: get_payments
SELECT * FROM payment WHERE payment_id = ANY ($1::text[])

-- name: get_attempts
SELECT * FROM attempt WHERE subject_id = ANY ($1::text[]) ORDER BY subject_id, number

-- name: find_attempt
SELECT * FROM attempt WHERE channel_id = $1 AND out_ref = $2

-- name: claim_payments
UPDATE payment SET epoch = epoch + 1, next_run_at = $2
WHERE payment_id IN (
    SELECT payment_id FROM payment WHERE next_run_at <= $1 AND state = ANY ($4::text[])
    ORDER BY next_run_at LIMIT $3 FOR UPDATE SKIP LOCKED)
RETURNING *

-- name: claim_refunds
UPDATE refund SET epoch = epoch + 1, next_run_at = $2
WHERE refund_id IN (
    SELECT refund_id FROM refund WHERE next_run_at <= $1 AND state = ANY ($4::text[])
    ORDER BY next_run_at LIMIT $3 FOR UPDATE SKIP LOCKED)
RETURNING *

-- name: claim_payouts
UPDATE payout SET epoch = epoch + 1, next_run_at = $2
WHERE payout_id IN (
    SELECT payout_id FROM payout WHERE next_run_at <= $1 AND state = ANY ($4::text[])
    ORDER BY next_run_at LIMIT $3 FOR UPDATE SKIP LOCKED)
RETURNING *

-- name: nudge_payments_in_review
UPDATE payment SET next_run_at = $2, version = version + 1
WHERE evaluation_id = ANY ($1::text[]) AND state = 'REVIEW'

-- name: nudge_payouts_in_review
UPDATE payout SET next_run_at = $2, version = version + 1
WHERE evaluation_id = ANY ($1::text[]) AND state = 'REVIEW'

-- name: list_payments
SELECT * FROM payment
WHERE ($1 = '' OR merchant_id = $1) AND ($2 = '' OR payment_id < $2)
  AND (cardinality($3::text[]) = 0 OR state = ANY ($3::text[])) AND ($4 = '' OR order_ref = $4)
ORDER BY payment_id DESC LIMIT $5

-- name: list_refunds
SELECT * FROM refund
WHERE merchant_id = $1 AND ($2 = '' OR refund_id < $2) AND ($3 = '' OR payment_id = $3)
ORDER BY refund_id DESC LIMIT $4

-- name: list_payouts
SELECT * FROM payout
WHERE merchant_id = $1 AND ($2 = '' OR payout_id < $2)
ORDER BY payout_id DESC LIMIT $3

-- name: backlog
SELECT 'payment' AS flow, state, count(*) AS count, min(created_at) AS oldest_at FROM payment
WHERE state NOT IN ('SUCCEEDED', 'FAILED', 'CANCELED') GROUP BY state
UNION ALL
SELECT 'refund', state, count(*), min(created_at) FROM refund
WHERE state NOT IN ('SUCCEEDED', 'FAILED') GROUP BY state
UNION ALL
SELECT 'payout', state, count(*), min(created_at) FROM payout
WHERE state NOT IN ('SUCCEEDED', 'FAILED') GROUP BY state
UNION ALL
SELECT 'callback', result, count(*), min(received_at) FROM callback_inbox
WHERE result NOT IN ('APPLIED', 'DUPLICATE') GROUP BY result

-- name: events_of
SELECT type, occurred_at FROM event_log WHERE subject_id = $1 ORDER BY seq
