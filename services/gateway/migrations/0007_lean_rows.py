"""Fewer indexes for what every payment writes: two of the event log, none over what an attempt is at."""

from libs.db.migrate import run_sql
from libs.events.log import TWO_INDEXES_SQL

revision = "0007"
down_revision = "0006"

# An index over a column that changes makes every change write all the indexes of its row. Attempts change in normal life, so
# what is open is found over the subjects, which are under such an index anyway. An earlier release beside this one looks through
# all attempts for what this one finds so: its gauge of unknown outcomes and its bills are slow, and right, until it goes.
_OPEN = """
DROP INDEX attempt_open;
CREATE VIEW open_subject AS
SELECT payment_id AS subject_id, channel_id, state, reason, created_at
FROM payment WHERE state NOT IN ('SUCCEEDED', 'FAILED', 'CANCELED')
UNION ALL
SELECT capture_id, channel_id, state, reason, created_at FROM capture WHERE state NOT IN ('SUCCEEDED', 'FAILED')
UNION ALL
SELECT refund_id, channel_id, state, reason, created_at FROM refund WHERE state NOT IN ('SUCCEEDED', 'FAILED')
UNION ALL
SELECT payout_id, channel_id, state, reason, created_at
FROM payout WHERE state NOT IN ('SUCCEEDED', 'FAILED', 'RETURNED');
"""
# A new payment has the highest id of its merchant. Descending, it went to the front of the page and split full ones in the middle;
# read backwards, an ascending index gives the same.
_OF_MERCHANT = """
DROP INDEX payment_of_merchant;
CREATE INDEX payment_of_merchant ON payment (merchant_id, payment_id);
"""
# Nearly every row is written twice, and its second version wants as much room as the first: beside it, only what differs is logged.
# Pages that are full already stay so.
_ROOM = """
ALTER TABLE payment SET (fillfactor = 50);
ALTER TABLE attempt SET (fillfactor = 50);
"""


def upgrade() -> None:
    run_sql(_OPEN + _OF_MERCHANT + _ROOM + TWO_INDEXES_SQL)
