-- All SQL of the router.

-- name: list_channels
SELECT * FROM channel WHERE channel_id > $1 ORDER BY channel_id LIMIT $2

-- name: all_channels
SELECT * FROM channel ORDER BY channel_id

-- name: get_channel
SELECT * FROM channel WHERE channel_id = $1

-- name: put_channel
INSERT INTO channel (
    channel_id, provider, display_name, status, methods, operations, currencies,
    amount_minimum_minor,
    amount_maximum_minor, fee_rate_ppm, fee_fixed_minor, fee_minimum_minor, fee_maximum_minor,
    zone, cut_off,
    static_rank, updated_at
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
ON CONFLICT (channel_id) DO UPDATE SET
    provider = excluded.provider, display_name = excluded.display_name, status = excluded.status,
    methods = excluded.methods, operations = excluded.operations, currencies = excluded.currencies,
    amount_minimum_minor = excluded.amount_minimum_minor,
    amount_maximum_minor = excluded.amount_maximum_minor,
    fee_rate_ppm = excluded.fee_rate_ppm, fee_fixed_minor = excluded.fee_fixed_minor,
    fee_minimum_minor = excluded.fee_minimum_minor, fee_maximum_minor = excluded.fee_maximum_minor,
    zone = excluded.zone, cut_off = excluded.cut_off, static_rank = excluded.static_rank,
    version = channel.version + 1, updated_at = excluded.updated_at
RETURNING version

-- name: lock_channel_version
SELECT version FROM channel WHERE channel_id = $1 FOR UPDATE

-- name: set_channel_status
UPDATE channel SET status = $2, version = version + 1, updated_at = $3 WHERE channel_id = $1
RETURNING *

-- name: claim_request
INSERT INTO request (request_id, fingerprint, created_at) VALUES ($1, $2, $3)
ON CONFLICT (request_id) DO NOTHING
RETURNING request_id

-- name: get_request
SELECT fingerprint, answer FROM request WHERE request_id = $1

-- name: answer_request
UPDATE request SET answer = $2 WHERE request_id = $1

-- name: get_decisions
SELECT * FROM decision WHERE route_key = ANY ($1::text[])

-- name: known_outcomes
SELECT attempt_id FROM outcome WHERE attempt_id = ANY ($1::text[])

-- name: add_minutes
INSERT INTO arm_minute
    (channel_id, method, operation, bucket_at, samples, successes, business_declines,
    latency_sum_ms)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::bigint[], $6::bigint[],
    $7::bigint[], $8::bigint[]
) AS new (channel_id, method, operation, bucket_at, samples, successes, business_declines,
    latency_sum_ms)
ORDER BY channel_id, method, operation, bucket_at
ON CONFLICT (channel_id, method, operation, bucket_at) DO UPDATE SET
    samples = arm_minute.samples + excluded.samples,
    successes = arm_minute.successes + excluded.successes,
    business_declines = arm_minute.business_declines + excluded.business_declines,
    latency_sum_ms = arm_minute.latency_sum_ms + excluded.latency_sum_ms

-- name: append_recent
-- $6 is how many outcomes a row keeps, $7 the silence after which it begins anew.
INSERT INTO arm_recent (channel_id, method, operation, successes, last_at)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[])
    AS new (channel_id, method, operation, successes, last_at)
ORDER BY channel_id, method, operation
ON CONFLICT (channel_id, method, operation) DO UPDATE SET
    successes = CASE
        WHEN excluded.last_at - arm_recent.last_at > $7::interval THEN excluded.successes
        ELSE right(arm_recent.successes || excluded.successes, $6::integer)
    END,
    last_at = greatest(arm_recent.last_at, excluded.last_at)

-- name: load_arms
-- $1 is the first minute that counts, $2 the end of silence, $3 the channels, null for all.
SELECT
    channel_id, method, operation,
    coalesce(minutes.samples, 0)::bigint AS samples,
    coalesce(minutes.successes, 0)::bigint AS successes,
    coalesce(minutes.business_declines, 0)::bigint AS business_declines,
    coalesce(minutes.latency_sum_ms, 0)::bigint AS latency_sum_ms,
    recent.successes AS recent_successes,
    recent.last_at AS recent_last_at
FROM (
    SELECT
        channel_id, method, operation,
        sum(samples) AS samples,
        sum(successes) AS successes,
        sum(business_declines) AS business_declines,
        sum(latency_sum_ms) AS latency_sum_ms
    FROM arm_minute
    WHERE bucket_at >= $1 AND ($3::text[] IS NULL OR channel_id = ANY ($3))
    GROUP BY channel_id, method, operation
) AS minutes
FULL JOIN (
    SELECT * FROM arm_recent
    WHERE last_at >= $2 AND ($3::text[] IS NULL OR channel_id = ANY ($3))
) AS recent USING (channel_id, method, operation)
