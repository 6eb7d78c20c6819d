"""Wide transfers that carry both legs, sealed in chains; books, bounds, states, captures by name."""

from libs.db.migrate import run_sql

revision = "0002"
down_revision = "0001"

# Rows that an earlier release has written are sealed as chain 0, in batches of a thousand.
ACCOUNTS_SQL = """
CREATE TABLE book (
    book_id   text COLLATE "C" PRIMARY KEY,
    tenant_id text COLLATE "C" NOT NULL,
    asset     text NOT NULL CHECK (asset ~ '^[A-Z]{3}$'),
    scale     smallint NOT NULL CHECK (scale BETWEEN 0 AND 8),
    UNIQUE (tenant_id, asset)
);
INSERT INTO book (book_id, tenant_id, asset, scale)
SELECT DISTINCT currency, '', currency,
       CASE WHEN currency IN ('BIF', 'CLP', 'DJF', 'GNF', 'ISK', 'JPY', 'KMF', 'KRW', 'PYG', 'RWF',
                              'UGX', 'UYI', 'VND', 'VUV', 'XAF', 'XOF', 'XPF') THEN 0
            WHEN currency IN ('BHD', 'IQD', 'JOD', 'KWD', 'LYD', 'OMR', 'TND') THEN 3
            WHEN currency IN ('CLF', 'UYW') THEN 4
            ELSE 2
       END
  FROM account;

ALTER TABLE account
    ADD COLUMN tenant_id text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN book_id text COLLATE "C" NOT NULL DEFAULT '';
UPDATE account SET book_id = currency;
CREATE INDEX account_by_parent ON account (parent_id, account_id) WHERE parent_id <> '';

-- What changes stands at the end, so that the log of an update has only that.
ALTER TABLE account_balance RENAME TO old_balance;
ALTER TABLE old_balance RENAME CONSTRAINT account_balance_pkey TO old_balance_pkey;
ALTER TABLE old_balance DROP CONSTRAINT account_balance_floor;
CREATE TABLE account_balance (
    account_id       text COLLATE "C" PRIMARY KEY,
    role             text NOT NULL,
    currency         text NOT NULL,
    book_id          text COLLATE "C" NOT NULL,
    is_credit_normal boolean NOT NULL,
    state            text NOT NULL DEFAULT 'OPEN'
        CHECK (state IN ('OPEN', 'DEBITS_FROZEN', 'CREDITS_FROZEN', 'FROZEN', 'CLOSED')),
    floor_minor      bigint,
    ceiling_minor    bigint,
    debits_minor     bigint NOT NULL DEFAULT 0 CHECK (debits_minor >= 0),
    credits_minor    bigint NOT NULL DEFAULT 0 CHECK (credits_minor >= 0),
    held_minor       bigint NOT NULL DEFAULT 0 CHECK (held_minor >= 0),
    sequence         bigint NOT NULL DEFAULT 0 CHECK (sequence >= 0),
    version          bigint NOT NULL DEFAULT 0 CHECK (version >= sequence),
    booked_at        timestamptz,
    CONSTRAINT account_balance_role_floor CHECK (
        role NOT IN ('MERCHANT_AVAILABLE', 'MERCHANT_RESERVE', 'LIMIT')
        OR credits_minor - debits_minor - held_minor >= 0),
    CONSTRAINT account_balance_floor CHECK (
        CASE WHEN is_credit_normal THEN credits_minor - debits_minor
             ELSE debits_minor - credits_minor END - held_minor >= floor_minor),
    CONSTRAINT account_balance_ceiling CHECK (
        CASE WHEN is_credit_normal THEN credits_minor - debits_minor
             ELSE debits_minor - credits_minor END <= ceiling_minor),
    CONSTRAINT account_balance_held CHECK (is_credit_normal OR held_minor = 0),
    CONSTRAINT account_balance_closed CHECK (
        state <> 'CLOSED' OR (debits_minor = credits_minor AND held_minor = 0))
) WITH (fillfactor = 50);
INSERT INTO account_balance (account_id, role, currency, book_id, is_credit_normal, debits_minor,
                             credits_minor, held_minor, sequence, version, booked_at)
SELECT account_id, role, currency, currency,
       role IN ('MERCHANT_AVAILABLE', 'MERCHANT_PENDING', 'FEE_INCOME', 'SUSPENSE'), debits_minor,
       credits_minor, held_minor, sequence, sequence,
       (SELECT max(transfer.booked_at)
          FROM entry JOIN transfer USING (transfer_id)
         WHERE entry.account_id = old_balance.account_id)
  FROM old_balance
 ORDER BY account_id;
DROP TABLE old_balance;

CREATE TABLE account_change (
    request_id          text COLLATE "C" NOT NULL,
    account_id          text COLLATE "C" NOT NULL,
    changed_at          timestamptz NOT NULL,
    reason              text NOT NULL CHECK (reason <> ''),
    asks_state          boolean NOT NULL,
    asks_bounds         boolean NOT NULL,
    state_before        text NOT NULL,
    floor_before_minor  bigint,
    ceiling_before_minor bigint,
    state_after         text NOT NULL,
    floor_after_minor   bigint,
    ceiling_after_minor bigint,
    PRIMARY KEY (request_id, account_id)
);
CREATE INDEX account_change_by_account ON account_change (account_id, changed_at);
CREATE TRIGGER account_change_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON account_change
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""

HOLDS_SQL = """
ALTER TABLE hold
    ADD COLUMN group_id text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN captures jsonb;
ALTER TABLE hold SET (fillfactor = 80);
CREATE INDEX hold_by_group ON hold (group_id) WHERE group_id <> '';
-- The state is in no index, so that an update of it stays on its page.
DROP INDEX hold_by_expiry;
CREATE TABLE hold_expiry (
    hold_id    text COLLATE "C" PRIMARY KEY,
    expires_at timestamptz NOT NULL
);
CREATE INDEX hold_expiry_by_time ON hold_expiry (expires_at);
INSERT INTO hold_expiry (hold_id, expires_at)
SELECT hold_id, expires_at FROM hold WHERE state = 'HELD' AND expires_at IS NOT NULL;
"""

TRANSFERS_SQL = """
ALTER TABLE transfer RENAME TO old_transfer;
ALTER TABLE old_transfer RENAME CONSTRAINT transfer_pkey TO old_transfer_pkey;
ALTER TABLE entry RENAME TO old_entry;
ALTER TABLE old_entry RENAME CONSTRAINT entry_pkey TO old_entry_pkey;

CREATE TABLE transfer (
    transfer_id                text COLLATE "C" PRIMARY KEY,
    amount_minor               bigint NOT NULL CHECK (amount_minor > 0),
    booked_at                  timestamptz NOT NULL,
    debit_sequence             bigint NOT NULL CHECK (debit_sequence > 0),
    debit_balance_after_minor  bigint NOT NULL,
    credit_sequence            bigint NOT NULL CHECK (credit_sequence > 0),
    credit_balance_after_minor bigint NOT NULL,
    batch_number               bigint NOT NULL CHECK (batch_number > 0),
    effective_on               date NOT NULL,
    chain                      smallint NOT NULL,
    debit_account_id           text COLLATE "C" NOT NULL,
    credit_account_id          text COLLATE "C" NOT NULL,
    currency                   text NOT NULL,
    reference                  text NOT NULL,
    description                text NOT NULL,
    -- Only of what the ledger decided itself: what was asked, and what is taken back.
    balancing                  text,
    requested_minor            bigint,
    keep_minor                 bigint,
    reverses_transfer_id       text COLLATE "C",
    CHECK (debit_account_id <> credit_account_id)
);
CREATE TABLE batch (
    chain           smallint NOT NULL,
    number          bigint NOT NULL CHECK (number > 0),
    previous_hash   bytea NOT NULL CHECK (length(previous_hash) = 32),
    hash            bytea NOT NULL CHECK (length(hash) = 32),
    transfers_count integer NOT NULL CHECK (transfers_count > 0),
    booked_at       timestamptz NOT NULL,
    PRIMARY KEY (chain, number)
);
-- A row is a writer's slot: who has it locked books the next batch of its chain.
CREATE TABLE chain_head (
    chain  smallint PRIMARY KEY,
    number bigint NOT NULL CHECK (number >= 0),
    hash   bytea NOT NULL CHECK (length(hash) = 32)
) WITH (fillfactor = 10);

CREATE TEMPORARY TABLE sealing ON COMMIT DROP AS
SELECT transfer_id, debit_account_id, credit_account_id, currency, amount_minor, reference,
       description, effective_on, booked_at, debit.sequence AS debit_sequence,
       debit.balance_after_minor AS debit_balance, credit.sequence AS credit_sequence,
       credit.balance_after_minor AS credit_balance,
       (row_number() OVER (ORDER BY booked_at, transfer_id) - 1) / 1000 + 1 AS number
  FROM old_transfer
  JOIN (SELECT transfer_id, sequence, balance_after_minor FROM old_entry
         WHERE direction = 'DEBIT') AS debit USING (transfer_id)
  JOIN (SELECT transfer_id, sequence, balance_after_minor FROM old_entry
         WHERE direction = 'CREDIT') AS credit USING (transfer_id);

INSERT INTO transfer (transfer_id, amount_minor, booked_at, debit_sequence,
                      debit_balance_after_minor, credit_sequence, credit_balance_after_minor,
                      batch_number, effective_on, chain, debit_account_id, credit_account_id,
                      currency, reference, description)
SELECT transfer_id, amount_minor, booked_at, debit_sequence, debit_balance, credit_sequence,
       credit_balance, number, effective_on, 0, debit_account_id, credit_account_id, currency,
       reference, description
  FROM sealing
 ORDER BY number, transfer_id;

CREATE TEMPORARY TABLE content ON COMMIT DROP AS
SELECT number, count(*)::integer AS transfers_count, max(booked_at) AS booked_at,
       convert_to('0', 'UTF8') || '\\x00' || convert_to(number::text, 'UTF8') || '\\x00'
       || string_agg(
              convert_to(transfer_id, 'UTF8') || '\\x00'
              || convert_to(debit_account_id, 'UTF8') || '\\x00'
              || convert_to(credit_account_id, 'UTF8') || '\\x00'
              || convert_to(currency, 'UTF8') || '\\x00'
              || convert_to(amount_minor::text, 'UTF8') || '\\x00'
              || convert_to(reference, 'UTF8') || '\\x00'
              || convert_to(description, 'UTF8') || '\\x00'
              || convert_to(to_char(effective_on, 'YYYY-MM-DD'), 'UTF8') || '\\x00'
              || convert_to((extract(epoch FROM booked_at) * 1000000)::bigint::text, 'UTF8')
              || '\\x00'
              || convert_to(debit_sequence::text, 'UTF8') || '\\x00'
              || convert_to(debit_balance::text, 'UTF8') || '\\x00'
              || convert_to(credit_sequence::text, 'UTF8') || '\\x00'
              || convert_to(credit_balance::text, 'UTF8') || '\\x00'
              || '\\x00000000'::bytea, ''::bytea ORDER BY transfer_id) AS bytes
  FROM sealing
 GROUP BY number;
CREATE UNIQUE INDEX content_by_number ON content (number);
ANALYZE content;

INSERT INTO batch (chain, number, previous_hash, hash, transfers_count, booked_at)
WITH RECURSIVE sealed (number, previous_hash, hash, transfers_count, booked_at) AS (
    SELECT number, decode(repeat('00', 32), 'hex'),
           sha256(decode(repeat('00', 32), 'hex') || bytes), transfers_count, booked_at
      FROM content
     WHERE number = 1
     UNION ALL
    SELECT content.number, sealed.hash, sha256(sealed.hash || content.bytes),
           content.transfers_count, content.booked_at
      FROM sealed
      JOIN content ON content.number = sealed.number + 1
)
SELECT 0, number, previous_hash, hash, transfers_count, booked_at FROM sealed;
INSERT INTO chain_head (chain, number, hash)
SELECT chain, 0, decode(repeat('00', 32), 'hex') FROM generate_series(1, 2) AS chain;

DROP TABLE old_entry, old_transfer;
CREATE UNIQUE INDEX transfer_by_debit ON transfer (debit_account_id, debit_sequence);
CREATE UNIQUE INDEX transfer_by_credit ON transfer (credit_account_id, credit_sequence);
CREATE INDEX transfer_by_reversed ON transfer (reverses_transfer_id)
    WHERE reverses_transfer_id IS NOT NULL;
-- Batches lie in the order of their numbers, all chains near one another: ranges of pages suffice.
CREATE INDEX transfer_by_batch ON transfer USING brin (chain, batch_number)
    WITH (pages_per_range = 32, autosummarize = on);

CREATE VIEW entry AS
SELECT debit_account_id AS account_id, debit_sequence AS sequence, transfer_id,
       'DEBIT'::text AS direction, amount_minor,
       debit_balance_after_minor AS balance_after_minor, credit_account_id AS counter_account_id,
       currency, reference, description, effective_on, booked_at
  FROM transfer
 UNION ALL
SELECT credit_account_id, credit_sequence, transfer_id, 'CREDIT'::text, amount_minor,
       credit_balance_after_minor, debit_account_id, currency, reference, description,
       effective_on, booked_at
  FROM transfer;

CREATE TRIGGER transfer_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON transfer
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER batch_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON batch
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""

CLOSING_SQL = """
-- How an account stood when a booking day ended; only where that differs from the day before.
CREATE TABLE closing_balance (
    account_id   text COLLATE "C" NOT NULL,
    day          date NOT NULL,
    sequence     bigint NOT NULL CHECK (sequence > 0),
    posted_minor bigint NOT NULL,
    PRIMARY KEY (account_id, day)
);
CREATE TABLE closed_day (
    day       date PRIMARY KEY,
    ended_at  timestamptz NOT NULL,
    closed_at timestamptz NOT NULL
);
CREATE TRIGGER closing_balance_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON closing_balance
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER closed_day_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON closed_day
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""


def upgrade() -> None:
    """Convert what an earlier release has written; set by set, in one transaction."""
    run_sql(ACCOUNTS_SQL)
    run_sql(HOLDS_SQL)
    run_sql(TRANSFERS_SQL)
    run_sql(CLOSING_SQL)
