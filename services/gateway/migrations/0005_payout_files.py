"""Payout files: what was declared and how far it has come, what was uploaded, and the rows."""

from libs.db.migrate import run_sql
from libs.saga.table import COLUMNS_SQL

revision = "0005"
down_revision = "0004"

_FILES = f"""
CREATE TABLE payout_file (
    payout_file_id text PRIMARY KEY,
    merchant_id text NOT NULL,
    request_id text NOT NULL,
    name text NOT NULL,
    currency text NOT NULL,
    encoding text NOT NULL,
    bad_rows text NOT NULL,
    needs_approval boolean NOT NULL,
    routing text NOT NULL,
    size_bytes bigint NOT NULL,
    sha256 text NOT NULL,
    declared_rows int NOT NULL,
    declared_minor bigint NOT NULL,
    maker_key_id text NOT NULL,
    checker_key_id text NOT NULL CHECK (checker_key_id <> maker_key_id),
    state text NOT NULL CHECK (state IN
        ('UPLOADING', 'CHECKING', 'WAITING', 'PAYING', 'PAUSED', 'CANCELING', 'COMPLETED', 'REFUSED', 'CANCELED')),
    reason text NOT NULL,
    reason_detail text NOT NULL,
    received_bytes bigint NOT NULL CHECK (received_bytes BETWEEN 0 AND size_bytes),
    columns jsonb NOT NULL,
    checked_bytes bigint NOT NULL CHECK (checked_bytes BETWEEN 0 AND received_bytes),
    checked_lines int NOT NULL,
    is_in_long_line boolean NOT NULL,
    rows_count int NOT NULL,
    rows_minor bigint NOT NULL,
    bad_count int NOT NULL,
    good_minor bigint NOT NULL,
    started_row int NOT NULL,
    taken_row int NOT NULL CHECK (taken_row <= started_row),
    settled_row int NOT NULL,
    idle_count int NOT NULL,
    has_moved boolean NOT NULL,
    started_count int NOT NULL,
    started_minor bigint NOT NULL,
    succeeded_count int NOT NULL,
    succeeded_minor bigint NOT NULL,
    failed_count int NOT NULL,
    failed_minor bigint NOT NULL,
    returned_count int NOT NULL,
    returned_minor bigint NOT NULL,
    ended_at timestamptz,
    {COLUMNS_SQL},
    UNIQUE (merchant_id, request_id),
    CHECK (started_count <= rows_count - bad_count AND started_minor <= good_minor),
    CHECK (succeeded_count + failed_count + returned_count <= started_count)
) WITH (fillfactor = 50);
CREATE INDEX payout_file_due ON payout_file (next_run_at) WHERE next_run_at IS NOT NULL;
CREATE INDEX payout_file_of_merchant ON payout_file (merchant_id, payout_file_id DESC);
CREATE INDEX payout_file_content ON payout_file (merchant_id, sha256);
CREATE INDEX payout_file_open ON payout_file (state, created_at) WHERE state NOT IN ('COMPLETED', 'REFUSED', 'CANCELED');
"""
_CONTENT = """
CREATE TABLE payout_file_chunk (
    payout_file_id text NOT NULL,
    offset_bytes bigint NOT NULL,
    size_bytes int NOT NULL,
    data bytea NOT NULL,
    PRIMARY KEY (payout_file_id, offset_bytes)
);
-- Read in parts: what is compressed could only be read whole.
ALTER TABLE payout_file_chunk ALTER COLUMN data SET STORAGE EXTERNAL;

CREATE TABLE payout_file_row (
    payout_file_id text NOT NULL,
    row_number int NOT NULL,
    line_number int NOT NULL,
    ref text NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor >= 0),
    payee_account text NOT NULL,
    payee_name text NOT NULL,
    bank_code text NOT NULL,
    description text NOT NULL,
    state text NOT NULL CHECK (state IN ('READY', 'BAD', 'OPEN', 'SUCCEEDED', 'FAILED', 'RETURNED')),
    reason text NOT NULL,
    payout_id text NOT NULL,
    problems jsonb NOT NULL,
    PRIMARY KEY (payout_file_id, row_number)
) WITH (fillfactor = 80);
CREATE INDEX payout_file_row_ref ON payout_file_row (payout_file_id, ref);
CREATE INDEX payout_file_row_open ON payout_file_row (payout_file_id, row_number) WHERE state = 'OPEN';
CREATE INDEX payout_file_row_bad ON payout_file_row (payout_file_id, row_number) WHERE state = 'BAD';
"""


def upgrade() -> None:
    run_sql(_FILES + _CONTENT)
