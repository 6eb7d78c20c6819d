-- name: insert_merchant
INSERT INTO merchant SELECT * FROM jsonb_populate_recordset(NULL::merchant, $1::jsonb)
ON CONFLICT (merchant_id) DO NOTHING
RETURNING merchant_id

-- name: get_merchant
SELECT * FROM merchant WHERE merchant_id = $1

-- name: list_merchants
SELECT * FROM merchant WHERE merchant_id > $1 ORDER BY merchant_id LIMIT $2

-- name: insert_api_key
INSERT INTO api_key (key_id, merchant_id, request_id, label, secret_hash, created_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (request_id) DO NOTHING
RETURNING key_id

-- name: get_api_key
SELECT merchant_id, secret_hash FROM api_key WHERE key_id = $1 AND revoked_at IS NULL

-- name: revoke_api_key
UPDATE api_key SET revoked_at = $2 WHERE key_id = $1 AND revoked_at IS NULL RETURNING key_id

-- name: is_api_key_known
SELECT EXISTS (SELECT FROM api_key WHERE key_id = $1)

-- name: upsert_channel_account
INSERT INTO channel_account
    (channel_id, provider, base_url, currencies, zone, methods, credential_names, sealed_credentials, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (channel_id) DO UPDATE SET
    provider = excluded.provider, base_url = excluded.base_url, currencies = excluded.currencies, zone = excluded.zone,
    methods = excluded.methods, credential_names = excluded.credential_names, sealed_credentials = excluded.sealed_credentials,
    updated_at = excluded.updated_at

-- name: list_channel_accounts
SELECT channel_id, provider, base_url, currencies, zone, methods, credential_names, sealed_credentials, updated_at
FROM channel_account WHERE channel_id > $1 ORDER BY channel_id LIMIT $2

-- name: get_channel_account
SELECT channel_id, provider, base_url, currencies, zone, methods, credential_names, sealed_credentials, updated_at
FROM channel_account WHERE channel_id = $1

-- name: receive_callback
INSERT INTO callback_inbox (channel_id, received_at, headers, body) VALUES ($1, $2, $3, $4) RETURNING inbox_id

-- name: settle_callback
UPDATE callback_inbox SET event_id = $2, out_ref = $3, result = $4 WHERE inbox_id = $1

-- name: is_callback_applied
SELECT EXISTS (
    SELECT FROM callback_inbox WHERE channel_id = $1 AND event_id = $2 AND result IN ('APPLIED', 'NOTICED'))

-- name: callbacks_of
SELECT received_at, result FROM callback_inbox WHERE channel_id = $1 AND out_ref = $2 ORDER BY inbox_id

-- name: get_cursor
SELECT cursor FROM event_cursor WHERE consumer = $1 AND source = 'gateway'

-- name: move_cursor
INSERT INTO event_cursor (consumer, source, cursor) VALUES ($1, 'gateway', $3)
ON CONFLICT (consumer, source) DO UPDATE SET
    cursor = CASE WHEN event_cursor.cursor = $2 THEN excluded.cursor ELSE event_cursor.cursor END,
    updated_at = now()
RETURNING cursor

-- name: count_unpushed
SELECT count(*) FROM event_log
WHERE (txid, seq) > (split_part($1, '-', 1)::xid8, split_part($1, '-', 2)::bigint)
