-- The sandbox's own book. Times ending in _at are business time (RFC 3339, +08:00), so their first
-- ten characters are the business day; those ending in _ms are real milliseconds since the epoch.
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;

CREATE TABLE IF NOT EXISTS account (account_id TEXT PRIMARY KEY, settings TEXT NOT NULL) STRICT;

CREATE TABLE IF NOT EXISTS balance (
    account_id TEXT NOT NULL,
    currency   TEXT NOT NULL,
    available  INTEGER NOT NULL,
    PRIMARY KEY (account_id, currency)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS charge_order (
    account_id TEXT NOT NULL, out_ref TEXT NOT NULL, status TEXT NOT NULL,
    amount INTEGER NOT NULL, currency TEXT NOT NULL, method TEXT NOT NULL,
    description TEXT NOT NULL, attach TEXT NOT NULL, payer TEXT NOT NULL, notify_url TEXT NOT NULL,
    deadline_ms INTEGER, auto_pay_at_ms INTEGER,
    provider_ref TEXT NOT NULL, qr_content TEXT NOT NULL, code TEXT NOT NULL, message TEXT NOT NULL,
    fee INTEGER NOT NULL, times_charged INTEGER NOT NULL,
    created_at TEXT NOT NULL, paid_at TEXT,
    capture_later INTEGER NOT NULL DEFAULT 0, captured INTEGER NOT NULL DEFAULT 0,
    authorized_until TEXT, extra TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (account_id, out_ref)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS charge_order_paid ON charge_order (account_id, substr(paid_at, 1, 10));
CREATE INDEX IF NOT EXISTS charge_order_pending ON charge_order (status) WHERE status = 'PENDING';
CREATE INDEX IF NOT EXISTS charge_order_authorized ON charge_order (authorized_until)
    WHERE status = 'AUTHORIZED';

CREATE TABLE IF NOT EXISTS capture (
    account_id TEXT NOT NULL, out_ref TEXT NOT NULL, order_ref TEXT NOT NULL, status TEXT NOT NULL,
    amount INTEGER NOT NULL, currency TEXT NOT NULL, is_final INTEGER NOT NULL,
    notify_url TEXT NOT NULL, provider_ref TEXT NOT NULL, code TEXT NOT NULL, fee INTEGER NOT NULL,
    settle_at_ms INTEGER, created_at TEXT NOT NULL, finished_at TEXT,
    PRIMARY KEY (account_id, out_ref)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS capture_day ON capture (account_id, substr(finished_at, 1, 10));
CREATE INDEX IF NOT EXISTS capture_open ON capture (status) WHERE status = 'PROCESSING';

CREATE TABLE IF NOT EXISTS refund (
    account_id TEXT NOT NULL, out_ref TEXT NOT NULL, order_ref TEXT NOT NULL, status TEXT NOT NULL,
    amount INTEGER NOT NULL, currency TEXT NOT NULL, reason TEXT NOT NULL, notify_url TEXT NOT NULL,
    provider_ref TEXT NOT NULL, code TEXT NOT NULL, fee INTEGER NOT NULL, settle_at_ms INTEGER,
    created_at TEXT NOT NULL, finished_at TEXT, extra TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (account_id, out_ref)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS refund_order ON refund (account_id, order_ref);
CREATE INDEX IF NOT EXISTS refund_day ON refund (account_id, substr(created_at, 1, 10));
CREATE INDEX IF NOT EXISTS refund_open ON refund (status) WHERE status = 'PROCESSING';

CREATE TABLE IF NOT EXISTS payout (
    account_id TEXT NOT NULL, out_ref TEXT NOT NULL, status TEXT NOT NULL,
    amount INTEGER NOT NULL, currency TEXT NOT NULL,
    payee_account TEXT NOT NULL, payee_name TEXT NOT NULL, description TEXT NOT NULL,
    provider_ref TEXT NOT NULL, code TEXT NOT NULL, fee INTEGER NOT NULL, settle_at_ms INTEGER,
    created_at TEXT NOT NULL, finished_at TEXT,
    notify_url TEXT NOT NULL DEFAULT '', return_at_ms INTEGER, returned_at TEXT,
    extra TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (account_id, out_ref)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS payout_return_day ON payout (account_id, substr(returned_at, 1, 10));
CREATE INDEX IF NOT EXISTS payout_day ON payout (account_id, substr(finished_at, 1, 10));
CREATE INDEX IF NOT EXISTS payout_open ON payout (status) WHERE status = 'PROCESSING';

CREATE TABLE IF NOT EXISTS callback (
    event_id TEXT PRIMARY KEY, account_id TEXT NOT NULL, kind TEXT NOT NULL, out_ref TEXT NOT NULL,
    url TEXT NOT NULL, status TEXT NOT NULL, attempts INTEGER NOT NULL,
    next_attempt_ms INTEGER NOT NULL, repeats INTEGER NOT NULL, last_answer TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS callback_due ON callback (next_attempt_ms) WHERE status = 'WAITING';

CREATE TABLE IF NOT EXISTS fault (
    fault_id INTEGER PRIMARY KEY AUTOINCREMENT, account_id TEXT NOT NULL, fault TEXT NOT NULL,
    operation TEXT, out_ref TEXT, remaining INTEGER, latency_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS fired_fault (
    fired_id INTEGER PRIMARY KEY AUTOINCREMENT, account_id TEXT NOT NULL, fault TEXT NOT NULL,
    operation TEXT NOT NULL, out_ref TEXT NOT NULL, detail TEXT NOT NULL,
    business_at TEXT NOT NULL, real_ms INTEGER NOT NULL
) STRICT;

-- A bill that went out wrong stays wrong at every download, until the account's faults are cleared.
CREATE TABLE IF NOT EXISTS bill_alteration (
    account_id TEXT NOT NULL, bill_date TEXT NOT NULL, fault TEXT NOT NULL, out_ref TEXT NOT NULL,
    PRIMARY KEY (account_id, bill_date, fault, out_ref)
) STRICT, WITHOUT ROWID;
