-- Payout files besides the statements of libs.saga: what was uploaded, and the rows.

-- name: insert_chunk
INSERT INTO payout_file_chunk (payout_file_id, offset_bytes, size_bytes, data) VALUES ($1, $2, $3, $4)

-- name: delete_chunks
DELETE FROM payout_file_chunk WHERE payout_file_id = ANY ($1::text[])

-- name: get_chunk
SELECT data FROM payout_file_chunk WHERE payout_file_id = $1 AND offset_bytes = $2

-- name: read_bytes
-- At most $3 bytes from $2 on, in the pieces they came in. A chunk has at most $4 bytes.
SELECT substr(data, greatest($2 - offset_bytes, 0)::int + 1, (least(offset_bytes + size_bytes, $2 + $3) - greatest(offset_bytes, $2))::int)
FROM payout_file_chunk
WHERE payout_file_id = $1 AND offset_bytes > $2 - $4 AND offset_bytes < $2 + $3 AND offset_bytes + size_bytes > $2
ORDER BY offset_bytes

-- name: known_refs
-- One look into the index a ref, whatever the planner believes of a table that is being filled.
SELECT asked.ref FROM unnest($2::text[]) AS asked (ref)
CROSS JOIN LATERAL (
    SELECT FROM payout_file_row AS known WHERE known.payout_file_id = $1 AND known.ref = asked.ref LIMIT 1) AS found

-- name: ready_rows
SELECT row_number, line_number, ref, amount_minor, payee_account, payee_name, bank_code, description FROM payout_file_row
WHERE payout_file_id = $1 AND row_number > $2 AND row_number <= $3 AND state = 'READY'
ORDER BY row_number

-- name: move_rows
UPDATE payout_file_row SET state = new.state, reason = new.reason, payout_id = new.payout_id
FROM jsonb_to_recordset($2::jsonb) AS new (row_number int, state text, reason text, payout_id text, before text)
WHERE payout_file_row.payout_file_id = $1 AND payout_file_row.row_number = new.row_number
    AND payout_file_row.state = new.before

-- name: open_rows
SELECT row_number, amount_minor, payout_id FROM payout_file_row
WHERE payout_file_id = $1 AND row_number > $2 AND state = 'OPEN'
ORDER BY row_number LIMIT $3

-- name: succeeded_rows
SELECT row_number, amount_minor, payout_id FROM payout_file_row
WHERE payout_file_id = $1 AND row_number > $2 AND state = 'SUCCEEDED'
ORDER BY row_number LIMIT $3

-- name: payout_states
SELECT payout_id, state, reason FROM payout WHERE payout_id = ANY ($1::text[])

-- name: list_rows
SELECT row_number, line_number, ref, amount_minor, state, reason, payout_id, problems,
    right(payee_account, 4) AS payee_account_tail, payee_name
FROM payout_file_row
WHERE payout_file_id = $1 AND row_number > $2 AND (NOT $3 OR state = 'BAD')
ORDER BY row_number LIMIT $4

-- name: list_payout_files
SELECT * FROM payout_file
WHERE merchant_id = $1 AND ($2 = '' OR payout_file_id < $2)
ORDER BY payout_file_id DESC LIMIT $3

-- name: find_content
SELECT payout_file_id FROM payout_file
WHERE merchant_id = $1 AND sha256 = $2 AND state NOT IN ('REFUSED', 'CANCELED')
ORDER BY payout_file_id LIMIT 1

-- name: count_open
SELECT count(*) FROM payout_file
WHERE merchant_id = $1 AND state IN ('UPLOADING', 'CHECKING', 'WAITING', 'PAYING', 'PAUSED', 'CANCELING')
