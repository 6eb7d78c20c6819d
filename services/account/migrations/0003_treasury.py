"""Real accounts and dated mappings to them, counterparties of positions, groups of holds that are barred."""

from libs.db.migrate import run_sql

revision = "0003"
down_revision = "0002"

GROUPS_SQL = """
CREATE TABLE hold_group (
    group_id  text COLLATE "C" PRIMARY KEY,
    is_barred boolean NOT NULL
) WITH (fillfactor = 80);
INSERT INTO hold_group (group_id, is_barred)
SELECT DISTINCT group_id, false FROM hold WHERE group_id <> '';
"""

POSITIONS_SQL = """
ALTER TABLE account ADD COLUMN counterparty_id text COLLATE "C" NOT NULL DEFAULT '';
CREATE INDEX account_by_role ON account (role, account_id)
    WHERE role IN ('DUE_FROM', 'DUE_TO', 'IN_TRANSIT');
"""

REAL_SQL = """
CREATE TABLE real_account (
    real_account_id text COLLATE "C" PRIMARY KEY,
    tenant_id       text COLLATE "C" NOT NULL,
    kind            text NOT NULL CHECK (kind IN ('BANK', 'THIRD_PARTY')),
    provider        text COLLATE "C" NOT NULL CHECK (provider <> ''),
    -- Of the number only what shows which account it is: its end, and a slow hash by which it is known again.
    masked_number   text NOT NULL CHECK (masked_number ~ '^[*]+.{4}$'),
    number_hash     bytea NOT NULL CHECK (length(number_hash) = 32),
    holder          text NOT NULL CHECK (holder <> ''),
    currency        text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    display_name    text NOT NULL,
    state           text NOT NULL CHECK (state IN ('OPEN', 'CLOSED')),
    opened_at       timestamptz NOT NULL,
    UNIQUE (number_hash)
);
CREATE TABLE real_account_change (
    request_id      text COLLATE "C" NOT NULL,
    real_account_id text COLLATE "C" NOT NULL,
    changed_at      timestamptz NOT NULL,
    reason          text NOT NULL CHECK (reason <> ''),
    state_before    text NOT NULL,
    state_after     text NOT NULL,
    PRIMARY KEY (request_id, real_account_id)
);
CREATE TRIGGER real_account_change_is_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON real_account_change
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- A mapping holds until the account's next one, so that none overlap; of those from one day the last word counts.
CREATE TABLE account_mapping (
    account_id      text COLLATE "C" NOT NULL,
    valid_from      date NOT NULL,
    revision        integer NOT NULL CHECK (revision >= 0),
    -- '' for none of its own: the account follows its parent's.
    real_account_id text COLLATE "C" NOT NULL,
    request_id      text COLLATE "C" NOT NULL,
    reason          text NOT NULL CHECK (reason <> ''),
    recorded_at     timestamptz NOT NULL,
    PRIMARY KEY (account_id, valid_from, revision),
    UNIQUE (request_id, account_id)
);
CREATE INDEX account_mapping_by_real ON account_mapping (real_account_id, account_id)
    WHERE real_account_id <> '';
CREATE TRIGGER account_mapping_is_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON account_mapping
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""


def upgrade() -> None:
    """Add tables; nothing that stands is changed."""
    run_sql(GROUPS_SQL)
    run_sql(POSITIONS_SQL)
    run_sql(REAL_SQL)
