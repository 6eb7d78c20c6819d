"""Items, fee plans, channels, statements and their lines, differences, batches, vouchers, events."""

from libs.db.migrate import run_sql
from libs.events.log import SCHEMA_SQL

revision = "0001"
down_revision = None

SQL = """
-- One row a changing request, so that a repetition is answered and not done again.
CREATE TABLE request (
    request_id text COLLATE "C" PRIMARY KEY,
    fingerprint text NOT NULL,
    resource_id text NOT NULL,
    created_at timestamptz NOT NULL
);

-- A plan is never changed: one for the same merchant and day takes its place, items keep naming theirs.
CREATE TABLE fee_plan (
    plan_id text COLLATE "C" PRIMARY KEY,
    merchant_id text COLLATE "C" NOT NULL,
    effective_from date NOT NULL,
    version integer NOT NULL,
    rate_ppm bigint NOT NULL CHECK (rate_ppm BETWEEN 0 AND 1000000),
    fixed_minor bigint NOT NULL CHECK (fixed_minor >= 0),
    payout_fixed_minor bigint NOT NULL CHECK (payout_fixed_minor >= 0),
    fee_refundable boolean NOT NULL,
    settle_delay_days integer NOT NULL CHECK (settle_delay_days >= 0),
    created_at timestamptz NOT NULL,
    UNIQUE (merchant_id, effective_from, version)
);
CREATE VIEW current_fee_plan AS
SELECT DISTINCT ON (merchant_id, effective_from) *
FROM fee_plan ORDER BY merchant_id, effective_from, version DESC;

-- What the router says of channels, as of the last look.
CREATE TABLE channel (
    channel_id text COLLATE "C" PRIMARY KEY,
    provider text NOT NULL,
    zone text NOT NULL,
    cut_off time NOT NULL
);

CREATE TABLE batch (
    batch_id text COLLATE "C" PRIMARY KEY,
    merchant_id text COLLATE "C" NOT NULL,
    currency text NOT NULL,
    business_date date NOT NULL,
    settle_date date NOT NULL,
    items_count bigint NOT NULL CHECK (items_count > 0),
    gross_minor bigint NOT NULL,
    refunds_minor bigint NOT NULL,
    fees_minor bigint NOT NULL,
    net_minor bigint NOT NULL CHECK (net_minor = gross_minor - refunds_minor - fees_minor),
    state text NOT NULL CHECK (state IN ('COMPUTED', 'SETTLED')),
    created_at timestamptz NOT NULL,
    settled_at timestamptz
);
CREATE INDEX batch_business_date ON batch (business_date, batch_id);
CREATE INDEX batch_computed ON batch (batch_id) WHERE state = 'COMPUTED';

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % never change', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;

CREATE TABLE voucher (
    voucher_id text COLLATE "C" PRIMARY KEY,
    voucher_date date NOT NULL,
    currency text NOT NULL,
    summary text NOT NULL,
    source text COLLATE "C" NOT NULL UNIQUE,
    created_at timestamptz NOT NULL
);
CREATE INDEX voucher_date ON voucher (voucher_date, voucher_id);

CREATE TABLE voucher_line (
    voucher_id text COLLATE "C" NOT NULL REFERENCES voucher,
    position integer NOT NULL,
    subject_code text NOT NULL,
    summary text NOT NULL,
    debit_minor bigint NOT NULL CHECK (debit_minor >= 0),
    credit_minor bigint NOT NULL CHECK (credit_minor >= 0),
    PRIMARY KEY (voucher_id, position),
    CHECK ((debit_minor > 0) <> (credit_minor > 0))
);

-- The proof at commit: at least two lines, debits equal credits.
CREATE FUNCTION require_balanced_voucher() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    lines bigint;
    imbalance numeric;
BEGIN
    SELECT count(*), coalesce(sum(debit_minor) - sum(credit_minor), 0) INTO lines, imbalance
    FROM voucher_line WHERE voucher_id = NEW.voucher_id;
    IF lines < 2 OR imbalance <> 0 THEN
        RAISE EXCEPTION 'voucher % does not balance: % lines, imbalance %',
            NEW.voucher_id, lines, imbalance USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER voucher_balances AFTER INSERT ON voucher
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION require_balanced_voucher();
CREATE CONSTRAINT TRIGGER voucher_line_balances AFTER INSERT ON voucher_line
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION require_balanced_voucher();

CREATE TRIGGER voucher_is_immutable BEFORE UPDATE OR DELETE ON voucher
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER voucher_line_is_immutable BEFORE UPDATE OR DELETE ON voucher_line
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- business_date is the accounting day; bill_date the day of the bill that has it, which can be a neighbour.
CREATE TABLE item (
    subject_id text COLLATE "C" PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('PAYMENT', 'REFUND', 'PAYOUT')),
    merchant_id text COLLATE "C" NOT NULL,
    channel_id text COLLATE "C" NOT NULL,
    out_ref text COLLATE "C" NOT NULL,
    provider_ref text NOT NULL,
    currency text NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    payment_id text COLLATE "C" NOT NULL,
    merchant_fee_minor bigint NOT NULL,
    fee_refundable boolean NOT NULL,
    plan_ref text NOT NULL,
    business_date date NOT NULL,
    bill_date date NOT NULL,
    occurred_at timestamptz NOT NULL,
    match_state text NOT NULL DEFAULT 'UNMATCHED'
        CHECK (match_state IN ('UNMATCHED', 'MATCHED', 'DIFFERENT')),
    -- Items are taken first, then summed up into the batch or voucher that they name.
    batch_id text COLLATE "C" REFERENCES batch DEFERRABLE INITIALLY DEFERRED,
    voucher_id text COLLATE "C" REFERENCES voucher DEFERRABLE INITIALLY DEFERRED
);
CREATE INDEX item_business_date ON item (business_date, channel_id, subject_id);
CREATE INDEX item_bill ON item (channel_id, bill_date, kind, out_ref);
CREATE INDEX item_refund ON item (payment_id) WHERE kind = 'REFUND';
CREATE INDEX item_batch ON item (batch_id);
CREATE INDEX item_unbatched ON item (business_date, merchant_id, currency) WHERE batch_id IS NULL;
CREATE INDEX item_merchant ON item (merchant_id, subject_id);

-- A file as it arrived. Rows of both tables never change.
CREATE TABLE statement (
    statement_id text COLLATE "C" PRIMARY KEY,
    channel_id text COLLATE "C" NOT NULL,
    business_date date NOT NULL,
    provider text NOT NULL,
    checked_hash text NOT NULL,
    sha256 text NOT NULL,
    size_bytes bigint NOT NULL,
    content bytea NOT NULL,
    state text NOT NULL CHECK (state IN ('FETCHED', 'EMPTY', 'REJECTED')),
    reason text NOT NULL,
    lines_count bigint NOT NULL,
    fetched_at timestamptz NOT NULL,
    UNIQUE (channel_id, business_date, sha256, state, reason)
);
CREATE UNIQUE INDEX statement_accepted_once ON statement (channel_id, business_date)
    WHERE state IN ('FETCHED', 'EMPTY');
CREATE INDEX statement_business_date ON statement (business_date, statement_id);

CREATE TABLE bill_line (
    statement_id text COLLATE "C" NOT NULL REFERENCES statement,
    line_number integer NOT NULL,
    kind text NOT NULL,
    out_ref text COLLATE "C" NOT NULL,
    provider_ref text NOT NULL,
    currency text NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor >= 0),
    fee_e4 bigint NOT NULL,
    status text NOT NULL CHECK (status IN ('SUCCEEDED', 'PROCESSING', 'REVOKED', 'FAILED')),
    occurred_at timestamptz NOT NULL,
    PRIMARY KEY (statement_id, line_number)
);
CREATE INDEX bill_line_reference ON bill_line (out_ref, kind);

CREATE TRIGGER statement_is_immutable BEFORE UPDATE OR DELETE ON statement
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER bill_line_is_immutable BEFORE UPDATE OR DELETE ON bill_line
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- How far the bill of a channel and day has come; once accepted it stays so.
CREATE TABLE channel_day (
    channel_id text COLLATE "C" NOT NULL,
    business_date date NOT NULL,
    state text NOT NULL CHECK (state IN ('FETCHED', 'EMPTY', 'REJECTED', 'NOT_READY', 'FAILED')),
    reason text NOT NULL,
    statement_id text COLLATE "C" REFERENCES statement,
    lines_count bigint NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (business_date, channel_id)
);

-- fee_e4 is exact; booked_minor its half-up rounding, which the ledger has once state is BOOKED.
CREATE TABLE channel_fee (
    channel_id text COLLATE "C" NOT NULL,
    business_date date NOT NULL,
    currency text NOT NULL,
    fee_e4 bigint NOT NULL,
    booked_minor bigint NOT NULL,
    remainder_e4 bigint GENERATED ALWAYS AS (fee_e4 - booked_minor * 10000) STORED,
    state text NOT NULL CHECK (state IN ('COMPUTED', 'BOOKED')),
    PRIMARY KEY (business_date, channel_id, currency)
);
CREATE INDEX channel_fee_computed ON channel_fee (business_date) WHERE state = 'COMPUTED';

CREATE TABLE difference (
    difference_id text COLLATE "C" PRIMARY KEY,
    kind text NOT NULL,
    channel_id text COLLATE "C" NOT NULL,
    business_date date NOT NULL,
    item_kind text NOT NULL,
    out_ref text COLLATE "C" NOT NULL,
    subject_id text COLLATE "C" NOT NULL,
    merchant_id text COLLATE "C" NOT NULL,
    our_currency text NOT NULL,
    our_amount_minor bigint NOT NULL,
    channel_currency text NOT NULL,
    channel_amount_minor bigint NOT NULL,
    line_number integer NOT NULL,
    detail text NOT NULL,
    opened_at timestamptz NOT NULL,
    state text NOT NULL CHECK (state IN ('OPEN', 'RESOLVED')),
    note text NOT NULL,
    resolved_by text NOT NULL,
    resolved_at timestamptz,
    UNIQUE (channel_id, business_date, item_kind, out_ref, kind)
);
CREATE INDEX difference_business_date ON difference (business_date, difference_id);
CREATE INDEX difference_state ON difference (state, difference_id);

-- A day that was closed: closed_at is set once every bill is in and everything is settled.
CREATE TABLE closing (
    business_date date PRIMARY KEY,
    first_run_at timestamptz NOT NULL,
    closed_at timestamptz
);
"""


def upgrade() -> None:
    """Create everything."""
    run_sql(SQL)
    run_sql(SCHEMA_SQL)
