"""Channels, requests already done, decisions, outcomes and their statistics."""

from libs.db.migrate import run_sql

revision = "0001"
down_revision = None

SQL = """
CREATE TABLE channel (
    channel_id           text        PRIMARY KEY,
    provider             text        NOT NULL,
    display_name         text        NOT NULL,
    status               text        NOT NULL,
    methods              text[]      NOT NULL,
    operations           text[]      NOT NULL,
    currencies           text[]      NOT NULL,
    amount_minimum_minor bigint      NOT NULL CHECK (amount_minimum_minor >= 0),
    amount_maximum_minor bigint      NOT NULL CHECK (amount_maximum_minor >= 0),
    fee_rate_ppm         bigint      NOT NULL CHECK (fee_rate_ppm >= 0),
    fee_fixed_minor      bigint      NOT NULL CHECK (fee_fixed_minor >= 0),
    fee_minimum_minor    bigint      NOT NULL CHECK (fee_minimum_minor >= 0),
    fee_maximum_minor    bigint      NOT NULL CHECK (fee_maximum_minor >= 0),
    zone                 text        NOT NULL,
    cut_off              text        NOT NULL,
    static_rank          integer     NOT NULL,
    version              bigint      NOT NULL DEFAULT 1,
    updated_at           timestamptz NOT NULL
);

-- One row a changing request, with its answer, so that a repetition is answered and not done again.
CREATE TABLE request (
    request_id  text        PRIMARY KEY,
    fingerprint text        NOT NULL,
    answer      jsonb,
    created_at  timestamptz NOT NULL
);

-- The decision log. A row never changes.
CREATE TABLE decision (
    route_key    text        PRIMARY KEY,
    merchant_id  text        NOT NULL,
    currency     text        NOT NULL,
    amount_minor bigint      NOT NULL,
    method       text        NOT NULL,
    operation    text        NOT NULL,
    plan         jsonb       NOT NULL,
    decided_at   timestamptz NOT NULL
);

-- What channels did, once an attempt. A row never changes.
CREATE TABLE outcome (
    attempt_id       text        PRIMARY KEY,
    channel_id       text        NOT NULL,
    method           text        NOT NULL,
    operation        text        NOT NULL,
    succeeded        boolean     NOT NULL,
    business_decline boolean     NOT NULL,
    latency_ms       bigint      NOT NULL,
    code             text        NOT NULL,
    occurred_at      timestamptz NOT NULL
);

-- The long memory: sums over one minute of one arm (channel, method and operation).
CREATE TABLE arm_minute (
    channel_id        text        NOT NULL,
    method            text        NOT NULL,
    operation         text        NOT NULL,
    bucket_at         timestamptz NOT NULL,
    samples           bigint      NOT NULL,
    successes         bigint      NOT NULL,
    business_declines bigint      NOT NULL,
    latency_sum_ms    bigint      NOT NULL,
    PRIMARY KEY (channel_id, method, operation, bucket_at)
);
CREATE INDEX arm_minute_bucket_at ON arm_minute (bucket_at);

-- The short memory: the last outcomes of an arm, '1' a success, '0' a failure, newest last.
CREATE TABLE arm_recent (
    channel_id text        NOT NULL,
    method     text        NOT NULL,
    operation  text        NOT NULL,
    successes  text        NOT NULL,
    last_at    timestamptz NOT NULL,
    PRIMARY KEY (channel_id, method, operation)
);
"""


def upgrade() -> None:
    """Create everything."""
    run_sql(SQL)
