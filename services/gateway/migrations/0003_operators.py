"""The platform's people: their keys, the steps they force, the cases before them, and the audit chain of what they did."""

from libs.audit import SCHEMA_SQL
from libs.db.migrate import run_sql

revision = "0003"
down_revision = "0002"

_TABLES = """
CREATE TABLE operator_key (
    key_id text PRIMARY KEY,
    operator_id text NOT NULL,
    request_id text NOT NULL UNIQUE,
    secret_hash text NOT NULL,
    created_at timestamptz NOT NULL,
    revoked_at timestamptz
);
CREATE UNIQUE INDEX operator_key_in_force ON operator_key (operator_id) WHERE revoked_at IS NULL;
CREATE INDEX operator_key_of_operator ON operator_key (operator_id);

CREATE TABLE force (
    force_id text PRIMARY KEY,
    request_id text NOT NULL UNIQUE,
    subject_id text NOT NULL,
    subject_version bigint NOT NULL,
    subject_state text NOT NULL,
    subject_reason text NOT NULL,
    to_state text NOT NULL,
    note text NOT NULL,
    state text NOT NULL CHECK (state IN ('PROPOSED', 'APPLIED', 'REJECTED', 'STALE')),
    maker_id text NOT NULL,
    checker_id text NOT NULL CHECK (checker_id <> maker_id),
    decision_note text NOT NULL,
    proposed_at timestamptz NOT NULL,
    decided_at timestamptz,
    CHECK (state = 'PROPOSED' OR (checker_id <> '' AND decided_at IS NOT NULL))
);
CREATE INDEX force_of_subject ON force (subject_id);
CREATE INDEX force_of_state ON force (state, force_id DESC);

CREATE TABLE manual_case (
    case_id text PRIMARY KEY,
    subject_id text NOT NULL,
    merchant_id text NOT NULL,
    reason text NOT NULL,
    opened_at timestamptz NOT NULL,
    closed_at timestamptz,
    resolution text NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX manual_case_open ON manual_case (subject_id) WHERE closed_at IS NULL;
CREATE INDEX manual_case_of_subject ON manual_case (subject_id);
CREATE INDEX manual_case_newest ON manual_case (opened_at DESC, case_id DESC);
"""


def upgrade() -> None:
    run_sql(_TABLES + SCHEMA_SQL)
