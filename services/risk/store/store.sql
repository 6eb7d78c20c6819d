All SQL of risk. Rows are locked in ascending order of their natural key.

-- name: read_revision
SELECT revision FROM book_revision

-- name: bump_revision
UPDATE book_revision SET revision = revision + 1

-- name: read_enabled_rules
SELECT * FROM current_rule WHERE enabled ORDER BY rule_id

-- name: read_entries_in_force
SELECT * FROM list_entry
WHERE removed_at IS NULL AND (expires_at IS NULL OR expires_at > $1)
ORDER BY entry_id

-- name: insert_rule
INSERT INTO rule (rule_id, version, merchant_id, operation, currency, verdict, enabled, check_kind,
                  subject_kind, amount_maximum_minor, count_maximum, window_s, description,
                  created_at)
SELECT $1::text, coalesce(max(version), 0) + 1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13
FROM rule WHERE rule_id = $1
RETURNING *

-- name: read_rule_version
SELECT * FROM rule WHERE rule_id = $1 AND version = $2

-- name: list_rules
SELECT * FROM current_rule WHERE rule_id > $1 ORDER BY rule_id LIMIT $2

-- name: insert_entry
INSERT INTO list_entry (entry_id, list_name, kind, value, merchant_id, note, expires_at, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)

-- name: read_entry
SELECT * FROM list_entry WHERE entry_id = $1

-- name: remove_entry
UPDATE list_entry SET removed_at = coalesce(removed_at, $2) WHERE entry_id = $1 RETURNING entry_id

-- name: list_entries
SELECT * FROM list_entry
WHERE entry_id > $1 AND ($2 = 0 OR list_name = $2)
  AND removed_at IS NULL AND (expires_at IS NULL OR expires_at > $3)
ORDER BY entry_id LIMIT $4

-- name: insert_request
INSERT INTO request (rpc, request_id, fingerprint, resource_id, created_at)
VALUES ($1, $2, $3, $4, $5)

-- name: read_request
SELECT fingerprint, resource_id FROM request WHERE rpc = $1 AND request_id = $2

-- name: read_decisions
SELECT * FROM decision WHERE evaluation_id = ANY ($1::text[])

-- name: add_day_totals
INSERT INTO day_total AS held
    (day, merchant_scope, operation_scope, subject_kind, subject, currency_scope,
     amount_minor, count)
SELECT * FROM unnest($1::date[], $2::text[], $3::smallint[], $4::smallint[], $5::text[], $6::text[],
                     $7::numeric[], $8::bigint[])
    AS new (day, merchant_scope, operation_scope, subject_kind, subject, currency_scope,
            amount_minor, count)
ORDER BY day, merchant_scope COLLATE "C", operation_scope, subject_kind, subject COLLATE "C",
         currency_scope COLLATE "C"
ON CONFLICT (day, merchant_scope, operation_scope, subject_kind, subject, currency_scope)
DO UPDATE SET amount_minor = held.amount_minor + excluded.amount_minor,
              count = held.count + excluded.count
RETURNING *

-- name: lock_day_totals
SELECT day_total_id FROM day_total WHERE day_total_id = ANY ($1::bigint[])
ORDER BY day, merchant_scope, operation_scope, subject_kind, subject, currency_scope
FOR UPDATE

-- name: subtract_day_totals
UPDATE day_total SET amount_minor = day_total.amount_minor - given.amount_minor,
                     count = day_total.count - given.count
FROM unnest($1::bigint[], $2::numeric[], $3::bigint[]) AS given (day_total_id, amount_minor, count)
WHERE day_total.day_total_id = given.day_total_id

-- name: insert_cases
INSERT INTO risk_case (case_id, evaluation_id, state, decided_by, note, opened_at)
SELECT case_id, evaluation_id, 1, '', '', $3::timestamptz
FROM unnest($1::text[], $2::text[]) AS new (case_id, evaluation_id)

-- name: lock_undecided_outcomes
SELECT evaluation_id, amount_minor, held_day_total_ids FROM decision
WHERE evaluation_id = ANY ($1::text[]) AND succeeded IS NULL
ORDER BY evaluation_id
FOR UPDATE

-- name: set_outcomes
UPDATE decision SET succeeded = new.succeeded,
    held_day_total_ids = CASE WHEN new.succeeded THEN decision.held_day_total_ids ELSE '{}' END
FROM unnest($1::text[], $2::boolean[]) AS new (evaluation_id, succeeded)
WHERE decision.evaluation_id = new.evaluation_id

-- name: list_cases
SELECT risk_case.*, decision.merchant_id, decision.operation, decision.currency,
       decision.amount_minor, decision.context, decision.fired_rules
FROM risk_case JOIN decision USING (evaluation_id)
WHERE risk_case.case_id > $1 AND ($2 = 0 OR risk_case.state = $2)
ORDER BY risk_case.case_id LIMIT $3

-- name: read_case
SELECT risk_case.*, decision.merchant_id, decision.operation, decision.currency,
       decision.amount_minor, decision.context, decision.fired_rules
FROM risk_case JOIN decision USING (evaluation_id)
WHERE risk_case.case_id = $1

-- name: lock_case
SELECT case_id FROM risk_case WHERE case_id = $1 FOR UPDATE

-- name: set_case
UPDATE risk_case SET state = $2, decided_by = $3, note = $4, decided_at = $5 WHERE case_id = $1

-- name: lock_held_days
SELECT amount_minor, held_day_total_ids FROM decision WHERE evaluation_id = $1 FOR UPDATE

-- name: clear_held_days
UPDATE decision SET held_day_total_ids = '{}' WHERE evaluation_id = $1
