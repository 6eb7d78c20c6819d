"""Two indexes of the event log instead of four, and room beside a decision for its outcome."""

from libs.db.migrate import run_sql
from libs.events.log import TWO_INDEXES_SQL

revision = "0002"
down_revision = "0001"

# Every decision is written twice, the second time when its outcome is known. With as much room as it takes itself, its second
# version lies on the same page, and its index hears nothing of it. Pages that are full already stay so.
SQL = """
ALTER TABLE decision SET (fillfactor = 50);
"""


def upgrade() -> None:
    """Change how rows lie, not what they say."""
    run_sql(SQL + TWO_INDEXES_SQL)
