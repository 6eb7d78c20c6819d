-- Items, fee plans, channels and requests already made.

-- name: known_subjects
SELECT subject_id FROM item WHERE subject_id = ANY ($1::text[])

-- name: paid_fees
-- By payment: what was paid, be it at once or by captures, and how much of it went back.
WITH paid AS (
    SELECT payment_id, amount_minor, merchant_fee_minor, fee_refundable FROM item
    WHERE subject_id = ANY ($1::text[]) AND kind = 'PAYMENT' AND settles
    UNION ALL
    SELECT payment_id, amount_minor, merchant_fee_minor, fee_refundable FROM item
    WHERE payment_id = ANY ($1::text[]) AND kind = 'PAYMENT' AND payment_id <> subject_id AND settles
)
SELECT payment_id, sum(amount_minor)::bigint AS amount_minor, sum(merchant_fee_minor)::bigint AS merchant_fee_minor,
       bool_and(fee_refundable) AS fee_refundable,
       coalesce((
           SELECT sum(refund.amount_minor) FROM item AS refund
           WHERE refund.payment_id = paid.payment_id AND refund.kind = 'REFUND' AND refund.settles), 0)::bigint AS refunded_minor
FROM paid GROUP BY payment_id

-- name: list_items
SELECT * FROM item
WHERE ($1::date IS NULL OR business_date = $1) AND ($2::text = '' OR merchant_id = $2) AND subject_id > $3
ORDER BY subject_id LIMIT $4

-- name: plans_of
SELECT * FROM current_fee_plan WHERE merchant_id = ANY ($1::text[])

-- name: get_plan
SELECT * FROM fee_plan WHERE plan_id = $1

-- name: list_plans
SELECT * FROM current_fee_plan
WHERE ($1::text = '' OR merchant_id = $1) AND (merchant_id, effective_from) > ($2::text, $3::date)
ORDER BY merchant_id, effective_from LIMIT $4

-- name: insert_plan
INSERT INTO fee_plan
    (plan_id, merchant_id, effective_from, version, rate_ppm, fixed_minor, payout_fixed_minor, fee_refundable,
     settle_delay_days, created_at)
SELECT $1, $2, $3, coalesce(max(version), 0) + 1, $4, $5, $6, $7, $8, $9
FROM fee_plan WHERE merchant_id = $2 AND effective_from = $3

-- name: put_channels
INSERT INTO channel (channel_id, provider, zone, cut_off)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::time[]) AS new (channel_id, provider, zone, cut_off)
ORDER BY channel_id
ON CONFLICT (channel_id) DO UPDATE
SET provider = excluded.provider, zone = excluded.zone, cut_off = excluded.cut_off
WHERE (channel.provider, channel.zone, channel.cut_off) IS DISTINCT FROM
      (excluded.provider, excluded.zone, excluded.cut_off)

-- name: channels
SELECT * FROM channel WHERE $1::text[] IS NULL OR channel_id = ANY ($1)

-- name: channels_of_day
SELECT channel_id FROM channel
UNION
SELECT channel_id FROM item WHERE business_date = $1
ORDER BY channel_id

-- name: claim_request
INSERT INTO request (request_id, fingerprint, resource_id, created_at) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING RETURNING true

-- name: get_request
SELECT fingerprint, resource_id FROM request WHERE request_id = $1
