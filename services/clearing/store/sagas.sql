-- What the flows need beside the statements of libs.saga.

-- name: free_items
UPDATE item SET batch_id = NULL
WHERE subject_id IN (SELECT subject_id FROM item WHERE batch_id = ANY ($1::text[]) ORDER BY subject_id FOR UPDATE)

-- name: bookable_batches
SELECT batch_id FROM batch
WHERE state IN ('POSTING', 'REFUSED') OR state = 'COMPUTED' AND (NOT $1::boolean OR next_run_at <= $2)
ORDER BY batch_id

-- name: list_sweeps
SELECT * FROM sweep WHERE ($1::text IS NULL OR state = $1) AND sweep_id > $2 ORDER BY sweep_id LIMIT $3
