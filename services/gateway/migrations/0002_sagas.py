"""Captures, returned payouts, refunds of late successes; what libs.saga keeps of every row; what bills have told."""

from libs.db.migrate import run_sql
from libs.saga.table import COLUMNS_SQL

revision = "0002"
down_revision = "0001"

_BOOKKEEPING = "".join(
    f"""
ALTER TABLE {table}
    ADD COLUMN flow_version int NOT NULL DEFAULT 1,
    ADD COLUMN faults_count int NOT NULL DEFAULT 0,
    ADD COLUMN last_fault text NOT NULL DEFAULT '';
"""
    for table in ("payment", "refund", "payout")
)
_STATES = """
ALTER TABLE payment
    DROP CONSTRAINT payment_state_check,
    ADD CONSTRAINT payment_state_check CHECK (state IN
        ('REVIEW', 'SENT', 'PENDING', 'AUTHORIZED', 'UNKNOWN', 'CLOSING', 'SUCCEEDED', 'FAILED', 'CANCELED', 'MANUAL')),
    ADD COLUMN capture_later boolean NOT NULL DEFAULT false,
    ADD COLUMN capturing_minor bigint NOT NULL DEFAULT 0 CHECK (capturing_minor >= 0),
    ADD COLUMN captured_minor bigint NOT NULL DEFAULT 0 CHECK (captured_minor >= 0),
    ADD COLUMN is_captured boolean NOT NULL DEFAULT false,
    ADD COLUMN authorized_until timestamptz;
UPDATE payment SET captured_minor = amount_minor, is_captured = true WHERE state = 'SUCCEEDED';
ALTER TABLE payment
    ADD CONSTRAINT payment_captured_check CHECK (captured_minor + capturing_minor <= amount_minor),
    ADD CONSTRAINT payment_refunded_captured_check CHECK (refunded_minor <= captured_minor),
    ADD CONSTRAINT payment_succeeded_captured_check CHECK (state <> 'SUCCEEDED' OR captured_minor > 0);
ALTER TABLE refund
    DROP CONSTRAINT refund_state_check,
    ADD CONSTRAINT refund_state_check CHECK (state IN
        ('READY', 'SENT', 'PENDING', 'UNKNOWN', 'SUCCEEDED', 'FAILED', 'MANUAL')),
    ADD COLUMN origin text NOT NULL DEFAULT 'MERCHANT' CHECK (origin IN ('MERCHANT', 'LATE_SUCCESS'));
ALTER TABLE payout
    DROP CONSTRAINT payout_state_check,
    ADD CONSTRAINT payout_state_check CHECK (state IN
        ('REVIEW', 'HOLDING', 'SENT', 'PENDING', 'UNKNOWN', 'SUCCEEDED', 'FAILED', 'RETURNED', 'MANUAL')),
    ADD COLUMN returned_at timestamptz;
DROP INDEX payout_open;
CREATE INDEX payout_open ON payout (state, created_at) WHERE state NOT IN ('SUCCEEDED', 'FAILED', 'RETURNED');
ALTER TABLE attempt
    DROP CONSTRAINT attempt_state_check,
    ADD CONSTRAINT attempt_state_check CHECK (state IN
        ('SENT', 'PENDING', 'UNKNOWN', 'AUTHORIZED', 'SUCCEEDED', 'RETURNED', 'DECLINED', 'CLOSED'));
CREATE INDEX attempt_open ON attempt (channel_id, sent_at) WHERE state IN ('SENT', 'PENDING', 'UNKNOWN');
"""
_CAPTURE = f"""
CREATE TABLE capture (
    capture_id text PRIMARY KEY,
    payment_id text NOT NULL,
    merchant_id text NOT NULL,
    request_id text NOT NULL,
    fingerprint text NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    currency text NOT NULL,
    is_final boolean NOT NULL,
    state text NOT NULL CHECK (state IN ('READY', 'SENT', 'PENDING', 'UNKNOWN', 'SUCCEEDED', 'FAILED', 'MANUAL')),
    reason text NOT NULL,
    channel_id text NOT NULL,
    payment_out_ref text NOT NULL,
    payment_amount_minor bigint NOT NULL,
    query_count int NOT NULL,
    succeeded_at timestamptz,
    hard_deadline_at timestamptz NOT NULL,
    {COLUMNS_SQL},
    UNIQUE (merchant_id, request_id)
);
CREATE INDEX capture_due ON capture (next_run_at) WHERE next_run_at IS NOT NULL;
CREATE INDEX capture_open ON capture (state, created_at) WHERE state NOT IN ('SUCCEEDED', 'FAILED');
CREATE INDEX capture_of_payment ON capture (payment_id);
"""
_BILLS = """
-- Days of which a channel's bill has said all it has to say of what we have no item for.
CREATE TABLE bill_told (
    channel_id text NOT NULL,
    business_date date NOT NULL,
    told_at timestamptz NOT NULL,
    PRIMARY KEY (channel_id, business_date)
);
"""


def upgrade() -> None:
    run_sql(_BOOKKEEPING + _STATES + _CAPTURE + _BILLS)
