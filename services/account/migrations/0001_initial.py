"""Accounts, balances, transfers, entries and holds."""

from libs.db.migrate import run_sql

revision = "0001"
down_revision = None

# Ids compare by bytes, so that the database locks and inserts in the order Python sorts. There are
# no foreign keys: the service checks under lock, and keys would nearly double the cost of a posting.
SQL = """
CREATE TABLE account (
    account_id   text COLLATE "C" PRIMARY KEY,
    owner_id     text COLLATE "C" NOT NULL,
    role         text NOT NULL,
    currency     text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    display_name text NOT NULL,
    parent_id    text COLLATE "C" NOT NULL,
    opened_at    timestamptz NOT NULL
);
CREATE INDEX account_by_owner ON account (owner_id, account_id);

-- The hot rows: narrow, and no index but the key, so that every update stays on its page.
CREATE TABLE account_balance (
    account_id    text COLLATE "C" PRIMARY KEY,
    role          text NOT NULL,
    currency      text NOT NULL,
    debits_minor  bigint NOT NULL DEFAULT 0 CHECK (debits_minor >= 0),
    credits_minor bigint NOT NULL DEFAULT 0 CHECK (credits_minor >= 0),
    held_minor    bigint NOT NULL DEFAULT 0 CHECK (held_minor >= 0),
    sequence      bigint NOT NULL DEFAULT 0 CHECK (sequence >= 0),
    CONSTRAINT account_balance_floor
        CHECK (role <> 'MERCHANT_AVAILABLE' OR credits_minor - debits_minor - held_minor >= 0)
) WITH (fillfactor = 50);

CREATE TABLE transfer (
    transfer_id       text COLLATE "C" PRIMARY KEY,
    debit_account_id  text COLLATE "C" NOT NULL,
    credit_account_id text COLLATE "C" NOT NULL,
    currency          text NOT NULL,
    amount_minor      bigint NOT NULL CHECK (amount_minor > 0),
    reference         text NOT NULL,
    description       text NOT NULL,
    effective_on      date NOT NULL,
    booked_at         timestamptz NOT NULL,
    CHECK (debit_account_id <> credit_account_id)
);

CREATE TABLE entry (
    account_id          text COLLATE "C" NOT NULL,
    sequence            bigint NOT NULL CHECK (sequence > 0),
    transfer_id         text COLLATE "C" NOT NULL,
    direction           text NOT NULL CHECK (direction IN ('DEBIT', 'CREDIT')),
    amount_minor        bigint NOT NULL CHECK (amount_minor > 0),
    balance_after_minor bigint NOT NULL,
    PRIMARY KEY (account_id, sequence)
);

CREATE TABLE hold (
    hold_id           text COLLATE "C" PRIMARY KEY,
    debit_account_id  text COLLATE "C" NOT NULL,
    credit_account_id text COLLATE "C" NOT NULL,
    currency          text NOT NULL,
    amount_minor      bigint NOT NULL CHECK (amount_minor >= 0),
    reference         text NOT NULL,
    expires_at        timestamptz,
    state             text NOT NULL CHECK (state IN ('HELD', 'CAPTURED', 'VOIDED', 'EXPIRED')),
    captured_minor    bigint NOT NULL CHECK (captured_minor BETWEEN 0 AND amount_minor),
    -- A hold voided before it was placed knows neither its accounts nor its amount.
    CHECK (amount_minor > 0 OR state = 'VOIDED')
);
CREATE INDEX hold_by_expiry ON hold (expires_at) WHERE state = 'HELD';

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: correct a booking by another booking', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER transfer_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON transfer
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER entry_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON entry
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""


def upgrade() -> None:
    """Create the tables."""
    run_sql(SQL)
