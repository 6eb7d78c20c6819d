-- Batches, vouchers, channel fees, closings and the day's figures.

-- name: settleable
-- Items that the channel confirmed, or whose difference was explained, up to a day, that are in no batch yet.
SELECT DISTINCT merchant_id, currency, business_date FROM item
WHERE settles AND batch_id IS NULL AND business_date <= $1 AND match_state <> 'UNMATCHED'
    AND NOT EXISTS (
        SELECT FROM difference
        WHERE difference.channel_id = item.channel_id AND difference.business_date = item.bill_date
            AND difference.item_kind = item.kind AND difference.out_ref = item.out_ref
            AND difference.state = 'OPEN')
ORDER BY business_date, merchant_id, currency

-- name: make_batch
-- $1 batch, $2 merchant, $3 currency, $4 business day, $5 day it is due, $6 now, $7 when it is to be booked, $8 flow version
WITH picked AS (
    SELECT subject_id FROM item
    WHERE merchant_id = $2 AND currency = $3 AND business_date = $4
        AND settles AND batch_id IS NULL AND match_state <> 'UNMATCHED'
        AND NOT EXISTS (
            SELECT FROM difference
            WHERE difference.channel_id = item.channel_id AND difference.business_date = item.bill_date
                AND difference.item_kind = item.kind AND difference.out_ref = item.out_ref
                AND difference.state = 'OPEN')
    ORDER BY subject_id FOR UPDATE OF item
), taken AS (
    UPDATE item SET batch_id = $1 FROM picked WHERE item.subject_id = picked.subject_id
    RETURNING item.kind, item.amount_minor, item.merchant_fee_minor
), summed AS (
    SELECT count(*) AS items_count,
           coalesce(sum(amount_minor) FILTER (WHERE kind = 'PAYMENT'), 0)::bigint AS gross_minor,
           coalesce(sum(amount_minor) FILTER (WHERE kind = 'REFUND'), 0)::bigint AS refunds_minor,
           coalesce(sum(merchant_fee_minor), 0)::bigint AS fees_minor
    FROM taken
)
INSERT INTO batch
    (batch_id, merchant_id, currency, business_date, settle_date, items_count, gross_minor, refunds_minor, fees_minor,
     net_minor, state, reason, tries_count, decided_by, note, created_at, updated_at, next_run_at, version, epoch,
     flow_version, faults_count, last_fault)
SELECT $1, $2, $3, $4, $5, items_count, gross_minor, refunds_minor, fees_minor,
       gross_minor - refunds_minor - fees_minor, 'COMPUTED', '', 0, '', '', $6, $6, $7, 1, 1, $8, 0, ''
FROM summed WHERE items_count > 0
RETURNING *

-- name: get_batches
SELECT * FROM batch WHERE batch_id = ANY ($1::text[]) ORDER BY batch_id

-- name: list_batches
SELECT * FROM batch
WHERE ($1::date IS NULL OR business_date = $1) AND ($2::text = '' OR merchant_id = $2) AND batch_id > $3
ORDER BY batch_id LIMIT $4

-- name: computed_fees
SELECT * FROM channel_fee WHERE state = 'COMPUTED' ORDER BY business_date, channel_id, currency LIMIT $1

-- name: mark_fee_booked
UPDATE channel_fee SET state = 'BOOKED'
WHERE channel_id = $1 AND business_date = $2 AND currency = $3 AND state = 'COMPUTED'
RETURNING true

-- name: unvouchered_flows
SELECT DISTINCT channel_id, kind, currency, settles FROM item
WHERE business_date = $1 AND voucher_id IS NULL
ORDER BY channel_id, kind, currency, settles

-- name: take_flow
WITH picked AS (
    SELECT subject_id FROM item
    WHERE business_date = $2 AND channel_id = $3 AND kind = $4 AND currency = $5 AND settles = $6
        AND voucher_id IS NULL
    ORDER BY subject_id FOR UPDATE
), taken AS (
    UPDATE item SET voucher_id = $1 FROM picked WHERE item.subject_id = picked.subject_id
    RETURNING item.amount_minor
)
SELECT count(*) AS items_count, coalesce(sum(amount_minor), 0)::bigint AS amount_minor FROM taken

-- name: count_vouchers_of
SELECT count(*) FROM voucher WHERE source = $1 OR starts_with(source, $1 || '#')

-- name: insert_voucher
INSERT INTO voucher (voucher_id, voucher_date, currency, summary, source, created_at)
VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (source) DO NOTHING RETURNING true

-- name: insert_voucher_lines
INSERT INTO voucher_line (voucher_id, position, subject_code, summary, debit_minor, credit_minor)
SELECT $1, position, subject_code, summary, debit_minor, credit_minor
FROM unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[])
    WITH ORDINALITY AS new (subject_code, summary, debit_minor, credit_minor, position)

-- name: list_vouchers
SELECT voucher.*, (
    SELECT jsonb_agg(jsonb_build_array(subject_code, summary, debit_minor, credit_minor) ORDER BY position)
    FROM voucher_line WHERE voucher_line.voucher_id = voucher.voucher_id) AS lines
FROM voucher
WHERE ($1::date IS NULL OR voucher_date = $1) AND voucher_id > $2
ORDER BY voucher_id LIMIT $3

-- name: begin_closing
INSERT INTO closing (business_date, first_run_at) VALUES ($1, $2) ON CONFLICT DO NOTHING

-- name: finish_closing
UPDATE closing SET closed_at = $2 WHERE business_date = $1 AND closed_at IS NULL RETURNING true

-- name: unfinished_days
SELECT business_date FROM closing WHERE closed_at IS NULL ORDER BY business_date

-- name: is_closed
-- It was run, every bill is in, every item was compared, every batch has ended, and every channel fee is booked.
SELECT EXISTS (SELECT FROM closing WHERE business_date = $1)
    AND NOT EXISTS (SELECT FROM channel_day WHERE business_date = $1 AND state NOT IN ('FETCHED', 'EMPTY'))
    AND NOT EXISTS (SELECT FROM item WHERE business_date = $1 AND match_state = 'UNMATCHED')
    AND NOT EXISTS (SELECT FROM batch WHERE business_date = $1 AND state NOT IN ('SETTLED', 'CANCELED'))
    AND NOT EXISTS (SELECT FROM channel_fee WHERE business_date = $1 AND state = 'COMPUTED')

-- name: latest_day
SELECT max(business_date) FROM item

-- name: report_channels
WITH items AS (
    SELECT channel_id, currency, count(*) AS items_count,
           count(*) FILTER (WHERE match_state = 'MATCHED') AS matched_count,
           sum(CASE WHEN kind IN ('PAYMENT', 'PAYOUT_RETURN') THEN amount_minor ELSE -amount_minor END)::bigint AS net_minor
    FROM item WHERE business_date = $1 GROUP BY channel_id, currency
), lines AS (
    SELECT statement.channel_id, bill_line.currency, count(*) AS lines_count
    FROM statement JOIN bill_line USING (statement_id)
    WHERE statement.business_date = $1 AND statement.state = 'FETCHED'
    GROUP BY statement.channel_id, bill_line.currency
), differences AS (
    SELECT channel_id, coalesce(nullif(our_currency, ''), channel_currency) AS currency, count(*) AS differences_count
    FROM difference WHERE business_date = $1 GROUP BY 1, 2
), fees AS (
    SELECT channel_id, currency, fee_e4 FROM channel_fee WHERE business_date = $1
), keys AS (
    SELECT channel_id, currency FROM items
    UNION SELECT channel_id, currency FROM lines
    UNION SELECT channel_id, currency FROM differences
    UNION SELECT channel_id, currency FROM fees
), rows AS (
    SELECT channel_id, coalesce(currency, '') AS currency
    FROM keys FULL JOIN (SELECT channel_id FROM channel_day WHERE business_date = $1) AS asked USING (channel_id)
)
SELECT rows.channel_id, rows.currency, coalesce(items_count, 0) AS items_count,
       coalesce(lines.lines_count, 0) AS lines_count, coalesce(matched_count, 0) AS matched_count,
       coalesce(differences_count, 0) AS differences_count, coalesce(net_minor, 0) AS net_minor,
       coalesce(fee_e4, 0) AS channel_fee_e4, coalesce(channel_day.state, '') AS statement_state,
       coalesce(channel_day.reason, '') AS statement_reason
FROM rows
LEFT JOIN items USING (channel_id, currency)
LEFT JOIN lines USING (channel_id, currency)
LEFT JOIN differences USING (channel_id, currency)
LEFT JOIN fees USING (channel_id, currency)
LEFT JOIN channel_day ON channel_day.channel_id = rows.channel_id AND channel_day.business_date = $1
ORDER BY channel_id, currency

-- name: report_counts
SELECT
    (SELECT count(*) FROM item WHERE business_date = $1 AND kind = 'PAYMENT' AND settles) AS payments_count,
    (SELECT count(*) FROM item WHERE business_date = $1 AND kind = 'REFUND' AND settles) AS refunds_count,
    (SELECT count(*) FROM item WHERE business_date = $1 AND kind = 'PAYOUT') AS payouts_count,
    (SELECT count(*) FROM item WHERE business_date = $1 AND kind = 'PAYOUT_RETURN') AS payout_returns_count,
    (SELECT count(*) FROM item WHERE business_date = $1 AND kind = 'PAYMENT' AND NOT settles) AS late_successes_count,
    (SELECT count(*) FROM item WHERE business_date = $1 AND match_state = 'MATCHED') AS matched_count,
    (SELECT count(*) FROM difference WHERE business_date = $1) AS differences_count,
    (SELECT count(*) FROM difference WHERE business_date = $1 AND state = 'OPEN') AS differences_open_count,
    (SELECT count(*) FROM voucher WHERE voucher_date = $1) AS vouchers_count
