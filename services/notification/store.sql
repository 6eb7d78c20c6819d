-- All SQL of notification.

-- name: ping
SELECT true

-- name: insert_endpoint
INSERT INTO endpoint (endpoint_id, merchant_id, url, event_types, state, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $6)

-- name: get_endpoint
SELECT * FROM endpoint WHERE endpoint_id = $1

-- name: lock_endpoint
SELECT * FROM endpoint WHERE endpoint_id = $1 FOR UPDATE

-- name: update_endpoint
UPDATE endpoint SET url = $2, event_types = $3, state = $4, updated_at = $5 WHERE endpoint_id = $1

-- name: list_endpoints
SELECT * FROM endpoint
WHERE ($1::text = '' OR merchant_id = $1) AND endpoint_id > $2
ORDER BY endpoint_id LIMIT $3

-- name: endpoints_to_tell
SELECT * FROM endpoint
WHERE merchant_id = ANY($1::text[]) AND state = 'ENABLED'
ORDER BY endpoint_id
FOR SHARE

-- name: hold_enabled_endpoint
SELECT true FROM endpoint WHERE endpoint_id = $1 AND state = 'ENABLED' FOR SHARE

-- name: disable_endpoint_at
UPDATE endpoint SET state = 'DISABLED', updated_at = $3
WHERE endpoint_id = $1 AND url = $2
RETURNING true

-- name: give_up_pending
UPDATE delivery SET state = 'DEAD', next_attempt_at = NULL WHERE endpoint_id = $1 AND state = 'PENDING'

-- name: insert_secret
INSERT INTO endpoint_secret (endpoint_id, number, sealed, created_at)
SELECT $1, coalesce(max(number), 0) + 1, $2, $3 FROM endpoint_secret WHERE endpoint_id = $1

-- name: end_current_secret
UPDATE endpoint_secret SET expires_at = $2 WHERE endpoint_id = $1 AND expires_at IS NULL

-- name: live_secrets
SELECT endpoint_id, sealed FROM endpoint_secret
WHERE endpoint_id = ANY($1::text[]) AND (expires_at IS NULL OR expires_at > $2)
ORDER BY endpoint_id, number DESC

-- name: insert_deliveries
INSERT INTO delivery (
    delivery_id, endpoint_id, merchant_id, event_id, event_type, subject_id, body, state, next_attempt_at, created_at
)
SELECT item.*, 'PENDING', $8, $8
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[]) AS item
ON CONFLICT (endpoint_id, event_id) DO NOTHING
RETURNING delivery_id

-- name: claim_due
-- $1 now, $2 end of the lease, $3 how many, $4 how many an endpoint may have in flight, $5 and $6 how many each has
-- in flight now, $7 how many due rows to look at. An endpoint that is full does not count, so it hides nobody.
WITH candidate AS (
    SELECT due.delivery_id,
           due.in_flight + row_number() OVER (PARTITION BY due.endpoint_id ORDER BY due.next_attempt_at) AS place
    FROM (
        SELECT delivery_id, endpoint_id, next_attempt_at, coalesce(busy.in_flight, 0) AS in_flight
        FROM delivery LEFT JOIN unnest($5::text[], $6::int[]) AS busy (endpoint_id, in_flight) USING (endpoint_id)
        WHERE state = 'PENDING' AND next_attempt_at <= $1 AND coalesce(busy.in_flight, 0) < $4
        ORDER BY next_attempt_at
        LIMIT $7
    ) AS due
), claimed AS (
    SELECT delivery_id FROM delivery
    WHERE delivery_id = ANY(ARRAY(SELECT delivery_id FROM candidate WHERE place <= $4))
      AND state = 'PENDING' AND next_attempt_at <= $1
    ORDER BY next_attempt_at
    LIMIT $3
    FOR UPDATE SKIP LOCKED
)
UPDATE delivery SET next_attempt_at = $2, epoch = delivery.epoch + 1
FROM claimed, endpoint
WHERE delivery.delivery_id = claimed.delivery_id AND endpoint.endpoint_id = delivery.endpoint_id
RETURNING delivery.delivery_id, delivery.endpoint_id, delivery.epoch, delivery.body, endpoint.url

-- name: get_delivery
SELECT * FROM delivery WHERE delivery_id = $1

-- name: lock_delivery
SELECT * FROM delivery WHERE delivery_id = $1 FOR UPDATE

-- name: save_delivery
UPDATE delivery
SET state = $2, attempts_count = $3, round_attempts = $4, next_attempt_at = $5, epoch = $6
WHERE delivery_id = $1

-- name: insert_attempt
INSERT INTO attempt (delivery_id, number, attempted_at, http_status, latency_ms, error)
VALUES ($1, $2, $3, $4, $5, $6)

-- name: list_attempts
SELECT attempted_at, http_status, latency_ms, error FROM attempt WHERE delivery_id = $1 ORDER BY number

-- name: list_deliveries
SELECT * FROM delivery
WHERE ($1::text = '' OR merchant_id = $1)
  AND ($2::text = '' OR state = $2)
  AND ($3::text = '' OR subject_id = $3)
  AND ($4::text = '' OR delivery_id < $4)
ORDER BY delivery_id DESC LIMIT $5

-- name: backlog
SELECT (SELECT count(*) FROM delivery WHERE state = 'PENDING') AS pending_count,
       (SELECT min(created_at) FROM delivery WHERE state = 'PENDING') AS oldest_pending_at,
       (SELECT count(*) FROM delivery WHERE state = 'DEAD') AS dead_count

-- name: claim_request
INSERT INTO request (rpc, request_id, fingerprint, resource_id, created_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (rpc, request_id) DO NOTHING
RETURNING true

-- name: get_request
SELECT fingerprint, resource_id FROM request WHERE rpc = $1 AND request_id = $2
