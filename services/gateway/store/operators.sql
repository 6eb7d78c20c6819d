-- name: insert_operator_key
INSERT INTO operator_key (key_id, operator_id, request_id, secret_hash, created_at)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING
RETURNING key_id

-- name: is_operator_request_known
SELECT EXISTS (SELECT FROM operator_key WHERE request_id = $1)

-- name: get_operator_key
SELECT operator_id, secret_hash FROM operator_key WHERE key_id = $1 AND revoked_at IS NULL

-- name: revoke_operator_key
UPDATE operator_key SET revoked_at = $2 WHERE operator_id = $1 AND revoked_at IS NULL RETURNING key_id

-- name: is_operator_known
SELECT EXISTS (SELECT FROM operator_key WHERE operator_id = $1)

-- name: insert_force
INSERT INTO force SELECT * FROM jsonb_populate_recordset(NULL::force, $1::jsonb)
ON CONFLICT (request_id) DO NOTHING
RETURNING force_id

-- name: find_force_by_request
SELECT * FROM force WHERE request_id = $1

-- name: get_force
SELECT * FROM force WHERE force_id = $1

-- name: decide_force
-- Only on what the decision was made: of two at once the second finds another checker, or another state.
UPDATE force SET state = $3, checker_id = $4, decision_note = $5, decided_at = $6
WHERE force_id = $1 AND state = 'PROPOSED' AND checker_id = $2
RETURNING force_id

-- name: is_force_superseded
SELECT EXISTS (
    SELECT FROM force
    WHERE subject_id = $1 AND force_id <> $2 AND state = 'APPLIED' AND subject_version >= $3)

-- name: list_forces
SELECT * FROM force
WHERE ($1 = '' OR state = $1) AND ($2 = '' OR force_id < $2)
ORDER BY force_id DESC LIMIT $3

-- name: list_cases
SELECT * FROM manual_case
WHERE (NOT $1 OR closed_at IS NULL) AND ($2::timestamptz IS NULL OR (opened_at, case_id) < ($2, $3))
ORDER BY opened_at DESC, case_id DESC LIMIT $4

-- name: cases_of
SELECT * FROM manual_case WHERE subject_id = $1 ORDER BY opened_at, case_id

-- name: follow_ups_of
SELECT 'refund' AS flow, refund_id AS subject_id, amount_minor, currency, state, created_at
FROM refund WHERE payment_id = $1
UNION ALL
SELECT 'capture', capture_id, amount_minor, currency, state, created_at FROM capture WHERE payment_id = $1
ORDER BY created_at, subject_id LIMIT $2
