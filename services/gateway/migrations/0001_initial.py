"""The gateway's tables. Everything that belongs to a merchant carries merchant_id, so that it can be distributed by it."""

from libs.db.migrate import run_sql
from libs.events.log import SCHEMA_SQL

revision = "0001"
down_revision = None

_TABLES = """
CREATE TABLE merchant (
    merchant_id text PRIMARY KEY,
    tenant_id text NOT NULL,
    display_name text NOT NULL,
    currencies jsonb NOT NULL,
    risk_down_allowed boolean NOT NULL,
    risk_down_limit_minor bigint NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TABLE api_key (
    key_id text PRIMARY KEY,
    merchant_id text NOT NULL REFERENCES merchant,
    request_id text NOT NULL UNIQUE,
    label text NOT NULL,
    secret_hash text NOT NULL,
    created_at timestamptz NOT NULL,
    revoked_at timestamptz
);

CREATE TABLE channel_account (
    channel_id text PRIMARY KEY,
    provider text NOT NULL,
    base_url text NOT NULL,
    currencies jsonb NOT NULL,
    zone text NOT NULL,
    credential_names jsonb NOT NULL,
    sealed_credentials bytea NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE payment (
    payment_id text PRIMARY KEY,
    merchant_id text NOT NULL,
    request_id text NOT NULL,
    fingerprint text NOT NULL,
    order_ref text NOT NULL,
    description text NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    currency text NOT NULL,
    method text NOT NULL,
    payer_token text NOT NULL,
    state text NOT NULL CHECK (state IN
        ('REVIEW', 'SENT', 'PENDING', 'UNKNOWN', 'CLOSING', 'SUCCEEDED', 'FAILED', 'CANCELED', 'MANUAL')),
    reason text NOT NULL,
    evaluation_id text NOT NULL,
    case_id text NOT NULL,
    plan jsonb NOT NULL,
    channel_id text NOT NULL,
    attempts_count int NOT NULL,
    query_count int NOT NULL,
    qr_content text NOT NULL,
    cancel_requested boolean NOT NULL,
    refunded_minor bigint NOT NULL CHECK (refunded_minor BETWEEN 0 AND amount_minor),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    succeeded_at timestamptz,
    expires_at timestamptz NOT NULL,
    hard_deadline_at timestamptz NOT NULL,
    next_run_at timestamptz,
    version bigint NOT NULL,
    epoch bigint NOT NULL,
    UNIQUE (merchant_id, request_id),
    CHECK (refunded_minor = 0 OR state = 'SUCCEEDED')
) WITH (fillfactor = 70);
CREATE INDEX payment_due ON payment (next_run_at) WHERE next_run_at IS NOT NULL;
CREATE INDEX payment_open ON payment (state, created_at) WHERE state NOT IN ('SUCCEEDED', 'FAILED', 'CANCELED');
CREATE INDEX payment_of_merchant ON payment (merchant_id, payment_id DESC);
CREATE INDEX payment_of_order ON payment (merchant_id, order_ref) WHERE order_ref <> '';
CREATE INDEX payment_evaluation ON payment (evaluation_id) WHERE state = 'REVIEW';

CREATE TABLE refund (
    refund_id text PRIMARY KEY,
    payment_id text NOT NULL,
    merchant_id text NOT NULL,
    request_id text NOT NULL,
    fingerprint text NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    currency text NOT NULL,
    note text NOT NULL,
    state text NOT NULL CHECK (state IN ('SENT', 'PENDING', 'UNKNOWN', 'SUCCEEDED', 'FAILED', 'MANUAL')),
    reason text NOT NULL,
    channel_id text NOT NULL,
    payment_out_ref text NOT NULL,
    payment_amount_minor bigint NOT NULL,
    query_count int NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    succeeded_at timestamptz,
    hard_deadline_at timestamptz NOT NULL,
    next_run_at timestamptz,
    version bigint NOT NULL,
    epoch bigint NOT NULL,
    UNIQUE (merchant_id, request_id)
);
CREATE INDEX refund_due ON refund (next_run_at) WHERE next_run_at IS NOT NULL;
CREATE INDEX refund_open ON refund (state, created_at) WHERE state NOT IN ('SUCCEEDED', 'FAILED');
CREATE INDEX refund_of_payment ON refund (payment_id);

CREATE TABLE payout (
    payout_id text PRIMARY KEY,
    merchant_id text NOT NULL,
    request_id text NOT NULL,
    fingerprint text NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    currency text NOT NULL,
    payee_account text NOT NULL,
    payee_name text NOT NULL,
    payee_bank_code text NOT NULL,
    description text NOT NULL,
    state text NOT NULL CHECK (state IN
        ('REVIEW', 'HOLDING', 'SENT', 'PENDING', 'UNKNOWN', 'SUCCEEDED', 'FAILED', 'MANUAL')),
    reason text NOT NULL,
    evaluation_id text NOT NULL,
    case_id text NOT NULL,
    plan jsonb NOT NULL,
    channel_id text NOT NULL,
    attempts_count int NOT NULL,
    query_count int NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    succeeded_at timestamptz,
    hard_deadline_at timestamptz NOT NULL,
    next_run_at timestamptz,
    version bigint NOT NULL,
    epoch bigint NOT NULL,
    UNIQUE (merchant_id, request_id)
);
CREATE INDEX payout_due ON payout (next_run_at) WHERE next_run_at IS NOT NULL;
CREATE INDEX payout_open ON payout (state, created_at) WHERE state NOT IN ('SUCCEEDED', 'FAILED');
CREATE INDEX payout_evaluation ON payout (evaluation_id) WHERE state = 'REVIEW';

CREATE TABLE attempt (
    subject_id text NOT NULL,
    number int NOT NULL,
    attempt_id text NOT NULL,
    operation text NOT NULL,
    channel_id text NOT NULL,
    out_ref text NOT NULL,
    state text NOT NULL CHECK (state IN ('SENT', 'PENDING', 'UNKNOWN', 'SUCCEEDED', 'DECLINED', 'CLOSED')),
    provider_ref text NOT NULL,
    code text NOT NULL,
    latency_ms int NOT NULL,
    fee_minor bigint,
    sent_at timestamptz NOT NULL,
    answered_at timestamptz,
    PRIMARY KEY (subject_id, number),
    UNIQUE (channel_id, out_ref)
) WITH (fillfactor = 70);
-- The second line of defence against charging twice: the database itself refuses a second good attempt.
CREATE UNIQUE INDEX attempt_one_success ON attempt (subject_id) WHERE state = 'SUCCEEDED' AND operation = 'PAYOUT';

CREATE TABLE callback_inbox (
    inbox_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    channel_id text NOT NULL,
    received_at timestamptz NOT NULL,
    headers jsonb NOT NULL,
    body bytea NOT NULL,
    event_id text NOT NULL DEFAULT '',
    out_ref text NOT NULL DEFAULT '',
    result text NOT NULL DEFAULT 'RECEIVED'
);
CREATE INDEX callback_inbox_open ON callback_inbox (result, received_at) WHERE result NOT IN ('APPLIED', 'DUPLICATE');
CREATE INDEX callback_inbox_event ON callback_inbox (channel_id, event_id) WHERE event_id <> '';
CREATE INDEX callback_inbox_reference ON callback_inbox (channel_id, out_ref) WHERE out_ref <> '';
"""


def upgrade() -> None:
    run_sql(_TABLES + SCHEMA_SQL)
