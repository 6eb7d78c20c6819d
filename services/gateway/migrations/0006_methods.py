"""What methods need of payers, what payers have to do next, how payees are paid, and what channels are used for."""

from libs.db.migrate import run_sql

revision = "0006"
down_revision = "0005"

_SQL = """
ALTER TABLE payment
    ADD COLUMN auth_code text NOT NULL DEFAULT '',
    ADD COLUMN wallet_user_id text NOT NULL DEFAULT '',
    ADD COLUMN payer_ip text NOT NULL DEFAULT '',
    ADD COLUMN bank_code text NOT NULL DEFAULT '',
    ADD COLUMN payer_account_id text NOT NULL DEFAULT '',
    ADD COLUMN return_url text NOT NULL DEFAULT '',
    ADD COLUMN next_action jsonb,
    ADD CONSTRAINT payment_auth_code_check CHECK
        (auth_code = '' OR state NOT IN ('SUCCEEDED', 'FAILED', 'CANCELED', 'MANUAL'));
UPDATE payment SET next_action = jsonb_build_object('kind', 'SHOW_QR', 'content', qr_content)
WHERE qr_content <> '' AND state IN ('SENT', 'PENDING', 'UNKNOWN', 'CLOSING');
ALTER TABLE payment DROP COLUMN qr_content;
ALTER TABLE payout
    ADD COLUMN method text NOT NULL DEFAULT 'BANK_TRANSFER',
    ADD COLUMN next_action jsonb;
ALTER TABLE channel_account ADD COLUMN methods jsonb NOT NULL DEFAULT '[]';
DROP INDEX callback_inbox_open;
CREATE INDEX callback_inbox_open ON callback_inbox (result, received_at)
    WHERE result NOT IN ('APPLIED', 'DUPLICATE', 'NOTICED');
"""


def upgrade() -> None:
    run_sql(_SQL)
