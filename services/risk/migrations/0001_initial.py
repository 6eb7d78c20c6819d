"""Rules, lists, decisions, day totals, cases, request ids and the event log."""

from libs.db.migrate import run_sql
from libs.events.log import SCHEMA_SQL

revision = "0001"
down_revision = None

SQL = """
-- One row: grows with every change of rules or lists, and serialises those changes.
CREATE TABLE book_revision (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    revision bigint NOT NULL
);
INSERT INTO book_revision (revision) VALUES (1);

CREATE TABLE rule (
    rule_id text COLLATE "C" NOT NULL,
    version integer NOT NULL CHECK (version > 0),
    merchant_id text NOT NULL,
    operation smallint NOT NULL,
    currency text NOT NULL,
    verdict smallint NOT NULL CHECK (verdict IN (2, 3)),
    enabled boolean NOT NULL,
    check_kind text NOT NULL CHECK (check_kind IN ('single', 'day', 'velocity')),
    subject_kind smallint,
    amount_maximum_minor bigint,
    count_maximum integer,
    window_s integer,
    description text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (rule_id, version)
);

CREATE VIEW current_rule AS
SELECT DISTINCT ON (rule_id) * FROM rule ORDER BY rule_id, version DESC;

CREATE TABLE list_entry (
    entry_id text COLLATE "C" PRIMARY KEY,
    list_name smallint NOT NULL CHECK (list_name BETWEEN 1 AND 3),
    kind smallint NOT NULL,
    value text NOT NULL,
    merchant_id text NOT NULL,
    note text NOT NULL,
    expires_at timestamptz,
    created_at timestamptz NOT NULL,
    removed_at timestamptz
);
CREATE INDEX list_entry_in_force ON list_entry (entry_id) WHERE removed_at IS NULL;

-- A sum can outgrow a bigint: thousands of operations of the largest amount a day.
CREATE TABLE day_total (
    day_total_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    day date NOT NULL,
    merchant_scope text COLLATE "C" NOT NULL,
    operation_scope smallint NOT NULL,
    subject_kind smallint NOT NULL,
    subject text COLLATE "C" NOT NULL,
    currency_scope text COLLATE "C" NOT NULL,
    amount_minor numeric(30, 0) NOT NULL CHECK (amount_minor >= 0),
    count bigint NOT NULL CHECK (count >= 0),
    UNIQUE (day, merchant_scope, operation_scope, subject_kind, subject, currency_scope)
);

CREATE TABLE decision (
    evaluation_id text COLLATE "C" PRIMARY KEY,
    merchant_id text NOT NULL,
    operation smallint NOT NULL,
    currency text NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    context jsonb NOT NULL,
    verdict smallint NOT NULL,
    fired_rules jsonb NOT NULL,
    case_id text NOT NULL,
    decided_at timestamptz NOT NULL,
    -- The day totals this operation counts in; emptied when they were given back.
    held_day_total_ids bigint[] NOT NULL,
    succeeded boolean
);

CREATE TABLE risk_case (
    case_id text COLLATE "C" PRIMARY KEY,
    evaluation_id text COLLATE "C" NOT NULL UNIQUE REFERENCES decision (evaluation_id),
    state smallint NOT NULL CHECK (state BETWEEN 1 AND 3),
    decided_by text NOT NULL,
    note text NOT NULL,
    opened_at timestamptz NOT NULL,
    decided_at timestamptz,
    CHECK ((state = 1) = (decided_at IS NULL))
);
CREATE INDEX risk_case_by_state ON risk_case (state, case_id);

CREATE TABLE request (
    rpc text NOT NULL,
    request_id text NOT NULL,
    fingerprint text NOT NULL,
    resource_id text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (rpc, request_id)
);
"""


def upgrade() -> None:
    """Create everything."""
    run_sql(SQL + SCHEMA_SQL)
