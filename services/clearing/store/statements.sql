-- Bills, how far each day's has come, and what matching finds.

-- name: channel_days
SELECT * FROM channel_day WHERE business_date = $1 AND ($2::text IS NULL OR channel_id = $2)

-- name: put_channel_day
INSERT INTO channel_day (channel_id, business_date, state, reason, statement_id, lines_count, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (business_date, channel_id) DO UPDATE
SET state = excluded.state, reason = excluded.reason, statement_id = excluded.statement_id,
    lines_count = excluded.lines_count, updated_at = excluded.updated_at
WHERE channel_day.state NOT IN ('FETCHED', 'EMPTY')

-- name: insert_statement
INSERT INTO statement
    (statement_id, channel_id, business_date, provider, checked_hash, sha256, size_bytes, content, state, reason,
     lines_count, fetched_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT DO NOTHING RETURNING statement_id

-- name: same_statement
SELECT statement_id FROM statement
WHERE channel_id = $1 AND business_date = $2 AND sha256 = $3 AND state = $4 AND reason = $5

-- name: insert_lines
INSERT INTO bill_line
    (statement_id, line_number, kind, out_ref, provider_ref, currency, amount_minor, fee_e4, status, occurred_at)
SELECT $1, line_number, kind, out_ref, provider_ref, currency, amount_minor, fee_e4, status, occurred_at
FROM unnest($2::integer[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::bigint[], $9::text[],
            $10::timestamptz[])
    AS new (line_number, kind, out_ref, provider_ref, currency, amount_minor, fee_e4, status, occurred_at)

-- name: insert_channel_fee
INSERT INTO channel_fee (channel_id, business_date, currency, fee_e4, booked_minor, state)
VALUES ($1, $2, $3, $4, $5, 'COMPUTED')

-- name: list_statements
SELECT statement_id, channel_id, business_date, sha256, size_bytes, state, reason, lines_count, fetched_at
FROM statement
WHERE ($1::date IS NULL OR business_date = $1) AND statement_id > $2
ORDER BY statement_id LIMIT $3

-- name: lock_channel_days
-- Whoever matches a channel's days has them to himself; ascending, so that no two wait for each other.
SELECT business_date FROM channel_day
WHERE channel_id = $1 AND business_date BETWEEN $2 AND $3
ORDER BY business_date FOR UPDATE

-- name: adopt_drifted
-- $1 channel, $2 first and $3 last bill day to look at, $4 days. An item that its own day's bill lacks and a
-- neighbouring day's bill has (cut-off drift) moves to that bill; both days are then to be matched again.
WITH found AS (
    SELECT DISTINCT ON (item.subject_id) item.subject_id, item.bill_date AS old_date, other.business_date AS new_date
    FROM item
    JOIN statement AS own ON own.channel_id = item.channel_id AND own.business_date = item.bill_date
        AND own.state IN ('FETCHED', 'EMPTY')
    JOIN bill_line AS line ON line.out_ref = item.out_ref AND line.kind = item.kind AND line.status = 'SUCCEEDED'
    JOIN statement AS other ON other.statement_id = line.statement_id AND other.channel_id = item.channel_id
        AND other.state = 'FETCHED' AND other.business_date <> item.bill_date
        AND other.business_date BETWEEN item.business_date - $4::integer AND item.business_date + $4::integer
    WHERE item.channel_id = $1 AND item.bill_date BETWEEN $2 AND $3 AND item.match_state <> 'MATCHED'
        AND NOT EXISTS (
            SELECT FROM bill_line AS mine
            WHERE mine.statement_id = own.statement_id AND mine.out_ref = item.out_ref AND mine.kind = item.kind)
        AND NOT EXISTS (
            SELECT FROM item AS twin
            WHERE twin.channel_id = item.channel_id AND twin.bill_date = other.business_date
                AND twin.out_ref = item.out_ref AND twin.kind = item.kind)
    ORDER BY item.subject_id, abs(other.business_date - item.business_date), other.business_date
), moved AS (
    UPDATE item SET bill_date = found.new_date FROM found WHERE item.subject_id = found.subject_id
    RETURNING found.old_date, found.new_date
)
SELECT old_date AS day FROM moved UNION SELECT new_date FROM moved ORDER BY day

-- name: accepted_statement
SELECT statement_id FROM statement
WHERE channel_id = $1 AND business_date = $2 AND state IN ('FETCHED', 'EMPTY')

-- name: match_day
-- $1 channel, $2 day, $3 statement. The same as services.clearing.domain.matching, over all rows at once.
WITH ours AS (
    SELECT kind, out_ref, count(*) AS items_count, min(subject_id) AS subject_id,
           (array_agg(merchant_id ORDER BY subject_id))[1] AS merchant_id,
           (array_agg(currency ORDER BY subject_id))[1] AS currency, sum(amount_minor)::bigint AS amount_minor
    FROM item WHERE channel_id = $1 AND bill_date = $2
    GROUP BY kind, out_ref
), theirs AS (
    SELECT kind, out_ref, count(*) FILTER (WHERE status = 'SUCCEEDED') AS lines_count,
           CASE WHEN bool_or(status = 'REVOKED') THEN 'REVOKED'
                WHEN bool_or(status = 'SUCCEEDED') THEN 'SUCCEEDED'
                ELSE (array_agg(status ORDER BY line_number))[1] END AS status,
           (array_agg(currency ORDER BY line_number))[1] AS currency,
           coalesce(sum(amount_minor) FILTER (WHERE status = 'SUCCEEDED'),
                    (array_agg(amount_minor ORDER BY line_number))[1])::bigint AS amount_minor,
           min(line_number) AS line_number
    FROM bill_line WHERE statement_id = $3
    GROUP BY kind, out_ref
), compared AS (
    SELECT kind, out_ref, ours.subject_id, ours.merchant_id, ours.items_count, theirs.lines_count,
           ours.currency AS our_currency, ours.amount_minor AS our_amount_minor,
           theirs.currency AS channel_currency, theirs.amount_minor AS channel_amount_minor,
           theirs.status AS channel_status, theirs.line_number,
           CASE WHEN theirs.lines_count IS NULL THEN 'SHORT'
                WHEN ours.items_count IS NULL THEN CASE WHEN theirs.status = 'SUCCEEDED' THEN 'LONG' END
                WHEN ours.items_count > 1 OR theirs.lines_count > 1 THEN 'DUPLICATE'
                WHEN theirs.status <> 'SUCCEEDED' THEN 'STATUS'
                WHEN ours.currency <> theirs.currency THEN 'CURRENCY'
                WHEN ours.amount_minor <> theirs.amount_minor THEN 'AMOUNT'
                ELSE 'MATCHED' END AS class
    FROM ours FULL JOIN theirs USING (kind, out_ref)
), marked AS (
    UPDATE item SET match_state = CASE WHEN compared.class = 'MATCHED' THEN 'MATCHED' ELSE 'DIFFERENT' END
    FROM compared
    WHERE item.channel_id = $1 AND item.bill_date = $2
        AND item.kind = compared.kind AND item.out_ref = compared.out_ref
        AND item.match_state <> CASE WHEN compared.class = 'MATCHED' THEN 'MATCHED' ELSE 'DIFFERENT' END
)
SELECT * FROM compared WHERE class <> 'MATCHED' ORDER BY kind, out_ref

-- name: count_matched
SELECT count(*) FROM item WHERE channel_id = $1 AND bill_date = $2 AND match_state = 'MATCHED'

-- name: insert_differences
INSERT INTO difference
    (difference_id, kind, channel_id, business_date, item_kind, out_ref, subject_id, merchant_id, our_currency,
     our_amount_minor, channel_currency, channel_amount_minor, line_number, detail, opened_at, state, note,
     resolved_by)
SELECT difference_id, kind, $1, $2, item_kind, out_ref, subject_id, merchant_id, our_currency,
       our_amount_minor, channel_currency, channel_amount_minor, line_number, detail, $3, 'OPEN', '', ''
FROM unnest($4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::bigint[],
            $12::text[], $13::bigint[], $14::integer[], $15::text[])
    AS new (difference_id, kind, item_kind, out_ref, subject_id, merchant_id, our_currency, our_amount_minor,
            channel_currency, channel_amount_minor, line_number, detail)
ON CONFLICT (channel_id, business_date, item_kind, out_ref, kind) DO NOTHING
RETURNING *

-- name: resolve_vanished
-- What an earlier run found and this one ($3 kinds, $4 item kinds, $5 references) does not find any more.
UPDATE difference SET state = 'RESOLVED', resolved_by = $6, note = $7, resolved_at = $8
WHERE channel_id = $1 AND business_date = $2 AND state = 'OPEN'
    AND (kind, item_kind, out_ref) NOT IN (
        SELECT * FROM unnest($3::text[], $4::text[], $5::text[]) AS found (kind, item_kind, out_ref))
RETURNING *

-- name: list_differences
SELECT * FROM difference
WHERE ($1::date IS NULL OR business_date = $1) AND ($2::text IS NULL OR state = $2) AND difference_id > $3
ORDER BY difference_id LIMIT $4

-- name: get_difference
SELECT * FROM difference WHERE difference_id = $1

-- name: resolve_difference
UPDATE difference SET state = 'RESOLVED', resolved_by = $2, note = $3, resolved_at = $4
WHERE difference_id = $1 AND state = 'OPEN'
RETURNING *

-- name: days_to_tell
-- $1 channel, $2 the day that is closed. The latest first, so that the limit leaves out what is oldest.
SELECT business_date FROM channel_day
WHERE channel_id = $1 AND state IN ('FETCHED', 'EMPTY')
    AND (business_date = $2 OR business_date < $2 AND told_at IS NULL)
ORDER BY business_date DESC LIMIT $3

-- name: unexplained_lines
-- $1 channel, $2 day, $3 days of drift, $4 after this line, $5 limit. What the channel says succeeded and we have no item of.
SELECT line.line_number, line.kind, line.out_ref, line.provider_ref, line.currency, line.amount_minor, line.fee_e4,
       line.status, line.occurred_at
FROM statement JOIN bill_line AS line USING (statement_id)
WHERE statement.channel_id = $1 AND statement.business_date = $2 AND statement.state = 'FETCHED'
    AND line.status = 'SUCCEEDED' AND line.line_number > $4
    AND NOT EXISTS (
        SELECT FROM item
        WHERE item.channel_id = $1 AND item.bill_date BETWEEN $2 - $3::integer AND $2 + $3::integer
            AND item.kind = line.kind AND item.out_ref = line.out_ref)
ORDER BY line.line_number LIMIT $5

-- name: mark_told
UPDATE channel_day SET told_at = $3 WHERE channel_id = $1 AND business_date = $2
