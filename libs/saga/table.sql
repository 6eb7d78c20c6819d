-- The statements of every flow's table; {table}, {key}, {identity} and {changes} are the flow's own names.
-- Rows travel as one JSON array a statement; jsonb_populate_recordset gives each the table's own types.

-- name: insert
INSERT INTO {table} SELECT * FROM jsonb_populate_recordset(NULL::{table}, $1::jsonb)
ON CONFLICT ({identity}) DO NOTHING
RETURNING {key}

-- name: find
SELECT {table}.* FROM {table}
JOIN (SELECT {identity} FROM jsonb_populate_recordset(NULL::{table}, $1::jsonb)) AS asked USING ({identity})

-- name: lock
SELECT FROM {table} WHERE {key} = ANY ($1::text[]) ORDER BY {key} FOR UPDATE

-- name: update
UPDATE {table} SET {changes}, state = new.state, updated_at = new.updated_at, next_run_at = new.next_run_at,
    version = new.version, faults_count = new.faults_count, last_fault = new.last_fault,
    flow_version = greatest({table}.flow_version, $2)
FROM jsonb_populate_recordset(NULL::{table}, $1::jsonb) AS new
WHERE {table}.{key} = new.{key} AND {table}.version = new.version - 1 AND {table}.epoch = new.epoch
RETURNING {table}.{key}

-- name: load
SELECT * FROM {table} WHERE {key} = $1

-- name: claim
-- Whoever had the row before can write no more. Each claim that gets nowhere makes the next one wait twice as long.
UPDATE {table} SET epoch = epoch + 1, faults_count = faults_count + 1,
    next_run_at = $1 + make_interval(secs => $2::float8 * 2 ^ faults_count)
WHERE {key} IN (
    SELECT {key} FROM {table}
    WHERE next_run_at <= $1 AND state = ANY ($4::text[]) AND flow_version <= $5 AND faults_count < $6
    ORDER BY next_run_at LIMIT $3 FOR UPDATE SKIP LOCKED)
RETURNING *

-- name: hand_over
UPDATE {table} SET next_run_at = $3
FROM unnest($1::text[], $2::bigint[]) AS owned (key, epoch)
WHERE {table}.{key} = owned.key AND {table}.epoch = owned.epoch AND next_run_at > $3

-- name: note_fault
UPDATE {table} SET last_fault = $3 WHERE {key} = $1 AND epoch = $2

-- name: retry
-- What has ended may still be asked about: a payout that succeeded is watched for its return.
UPDATE {table} SET next_run_at = $2, faults_count = 0
WHERE {key} = $1 AND (next_run_at IS NOT NULL OR NOT state = ANY ($3::text[]))
RETURNING *

-- name: stuck
SELECT * FROM {table}
WHERE state = 'MANUAL' OR faults_count >= $2 OR next_run_at < $1
ORDER BY {key} LIMIT $3

-- name: backlog
SELECT state, count(*) AS count, min(created_at) AS oldest_at, count(*) FILTER (WHERE faults_count >= $2) AS quarantined_count
FROM {table} WHERE NOT state = ANY ($1::text[]) GROUP BY state
