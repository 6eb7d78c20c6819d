"""A subject may have several matters before people, and a payout more than one attempt that a channel carried out."""

from libs.db.migrate import run_sql

revision = "0004"
down_revision = "0003"

# Money that a channel moved is a fact, also the second time; what we book of it is guarded by the ledger's ids.
_SQL = """
DROP INDEX attempt_one_success;
DROP INDEX manual_case_open;
CREATE UNIQUE INDEX manual_case_open ON manual_case (subject_id, reason) WHERE closed_at IS NULL;
"""


def upgrade() -> None:
    run_sql(_SQL)
