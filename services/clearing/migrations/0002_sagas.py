"""Batches as sagas; sweeps; items that do not settle, and payouts sent back; which bills the gateway was told of."""

from libs.db.migrate import run_sql
from libs.saga.table import COLUMNS_SQL

revision = "0002"
down_revision = "0001"

SQL = f"""
ALTER TABLE batch
    ADD COLUMN reason text NOT NULL DEFAULT '',
    ADD COLUMN tries_count int NOT NULL DEFAULT 0,
    ADD COLUMN refused_since timestamptz,
    ADD COLUMN decided_by text NOT NULL DEFAULT '',
    ADD COLUMN note text NOT NULL DEFAULT '',
    ADD COLUMN updated_at timestamptz,
    ADD COLUMN next_run_at timestamptz,
    ADD COLUMN version bigint NOT NULL DEFAULT 1,
    ADD COLUMN epoch bigint NOT NULL DEFAULT 1,
    ADD COLUMN flow_version int NOT NULL DEFAULT 1,
    ADD COLUMN faults_count int NOT NULL DEFAULT 0,
    ADD COLUMN last_fault text NOT NULL DEFAULT '',
    DROP CONSTRAINT batch_state_check;
-- What was computed before is due on its settlement day; a close that books at once does not wait for it.
UPDATE batch SET updated_at = coalesce(settled_at, created_at),
    next_run_at = CASE state WHEN 'COMPUTED' THEN settle_date::timestamp AT TIME ZONE 'Asia/Shanghai' END;
ALTER TABLE batch
    ALTER COLUMN updated_at SET NOT NULL,
    ALTER COLUMN reason DROP DEFAULT,
    ALTER COLUMN tries_count DROP DEFAULT,
    ALTER COLUMN decided_by DROP DEFAULT,
    ALTER COLUMN note DROP DEFAULT,
    ALTER COLUMN version DROP DEFAULT,
    ALTER COLUMN epoch DROP DEFAULT,
    ALTER COLUMN flow_version DROP DEFAULT,
    ALTER COLUMN faults_count DROP DEFAULT,
    ALTER COLUMN last_fault DROP DEFAULT,
    ADD CHECK ((state = 'SETTLED') = (settled_at IS NOT NULL));
DROP INDEX batch_computed;
CREATE INDEX batch_due ON batch (next_run_at) WHERE next_run_at IS NOT NULL;
CREATE INDEX batch_open ON batch (batch_id) WHERE state NOT IN ('SETTLED', 'CANCELED');

CREATE TABLE sweep (
    sweep_id text COLLATE "C" PRIMARY KEY,
    request_id text COLLATE "C" NOT NULL UNIQUE,
    fingerprint text NOT NULL,
    source_account_id text NOT NULL,
    target_account_id text NOT NULL CHECK (target_account_id <> source_account_id),
    currency text NOT NULL,
    keep_minor bigint NOT NULL CHECK (keep_minor >= 0),
    minimum_minor bigint NOT NULL CHECK (minimum_minor >= 0),
    memo text NOT NULL,
    state text NOT NULL,
    reason text NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor >= 0),
    tries_count int NOT NULL,
    is_cancel_wanted boolean NOT NULL,
    decided_by text NOT NULL,
    note text NOT NULL,
    hard_deadline_at timestamptz NOT NULL,
    {COLUMNS_SQL},
    CHECK (state <> 'DONE' OR amount_minor > 0)
);
CREATE INDEX sweep_due ON sweep (next_run_at) WHERE next_run_at IS NOT NULL;
CREATE INDEX sweep_open ON sweep (sweep_id) WHERE state NOT IN ('DONE', 'SKIPPED', 'FAILED', 'CANCELED');

ALTER TABLE item
    DROP CONSTRAINT item_kind_check,
    ADD CONSTRAINT item_kind_check CHECK (kind IN ('PAYMENT', 'REFUND', 'PAYOUT', 'PAYOUT_RETURN')),
    ADD COLUMN settles boolean NOT NULL DEFAULT true,
    ADD CHECK (settles OR batch_id IS NULL);
ALTER TABLE item ALTER COLUMN settles DROP DEFAULT;
-- Captures by their payment.
CREATE INDEX item_capture ON item (payment_id) WHERE kind = 'PAYMENT' AND payment_id <> subject_id;

-- When the gateway was told what this bill says of orders we have no item for. Bills that were in before are not told again.
ALTER TABLE channel_day ADD COLUMN told_at timestamptz;
UPDATE channel_day SET told_at = updated_at WHERE state IN ('FETCHED', 'EMPTY');
CREATE INDEX channel_day_untold ON channel_day (channel_id, business_date)
    WHERE told_at IS NULL AND state IN ('FETCHED', 'EMPTY');
"""


def upgrade() -> None:
    """Add everything."""
    run_sql(SQL)
