"""Endpoints and their secrets, deliveries and their attempts, requests already done, cursors of feeds."""

from libs.db.migrate import run_sql
from libs.events.log import EVENT_CURSOR_SQL

revision = "0001"
down_revision = None

SQL = """
CREATE TABLE endpoint (
    endpoint_id text        PRIMARY KEY,
    merchant_id text        NOT NULL,
    url         text        NOT NULL,
    event_types text[]      NOT NULL,
    state       text        NOT NULL CHECK (state IN ('ENABLED', 'DISABLED')),
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL
);
CREATE INDEX endpoint_merchant ON endpoint (merchant_id, endpoint_id);

-- Sealed with the key of the service. The one without an end is the current one.
CREATE TABLE endpoint_secret (
    endpoint_id text        NOT NULL REFERENCES endpoint,
    number      integer     NOT NULL,
    sealed      bytea       NOT NULL,
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz,
    PRIMARY KEY (endpoint_id, number)
);

CREATE TABLE delivery (
    delivery_id     text        PRIMARY KEY,
    endpoint_id     text        NOT NULL REFERENCES endpoint,
    merchant_id     text        NOT NULL,
    event_id        text        NOT NULL,
    event_type      text        NOT NULL,
    subject_id      text        NOT NULL,
    body            text        NOT NULL,
    state           text        NOT NULL CHECK (state IN ('PENDING', 'DELIVERED', 'DEAD')),
    attempts_count  integer     NOT NULL DEFAULT 0,
    round_attempts  integer     NOT NULL DEFAULT 0,
    next_attempt_at timestamptz,
    epoch           bigint      NOT NULL DEFAULT 0,
    created_at      timestamptz NOT NULL,
    UNIQUE (endpoint_id, event_id),
    CHECK ((state = 'PENDING') = (next_attempt_at IS NOT NULL))
);
CREATE INDEX delivery_due ON delivery (next_attempt_at) WHERE state = 'PENDING';
CREATE INDEX delivery_waiting ON delivery (created_at) WHERE state = 'PENDING';
CREATE INDEX delivery_pending_of ON delivery (endpoint_id) WHERE state = 'PENDING';
CREATE INDEX delivery_dead ON delivery (delivery_id) WHERE state = 'DEAD';
CREATE INDEX delivery_merchant ON delivery (merchant_id, delivery_id);
CREATE INDEX delivery_subject ON delivery (subject_id, delivery_id);

-- A row never changes.
CREATE TABLE attempt (
    delivery_id  text        NOT NULL REFERENCES delivery,
    number       integer     NOT NULL,
    attempted_at timestamptz NOT NULL,
    http_status  integer     NOT NULL,
    latency_ms   bigint      NOT NULL,
    error        text        NOT NULL,
    PRIMARY KEY (delivery_id, number)
);

-- One row a changing request, so that a repetition is answered and not done again.
CREATE TABLE request (
    rpc         text        NOT NULL,
    request_id  text        NOT NULL,
    fingerprint text        NOT NULL,
    resource_id text        NOT NULL,
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (rpc, request_id)
);
"""


def upgrade() -> None:
    """Create everything."""
    run_sql(EVENT_CURSOR_SQL)
    run_sql(SQL)
