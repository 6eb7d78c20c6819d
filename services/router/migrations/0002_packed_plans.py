"""Plans are kept packed: a plan as JSON was the largest thing that a payment wrote anywhere."""

from libs.db.migrate import run_sql

revision = "0002"
down_revision = "0001"

# What an earlier release has written stays as it is, in `plan`, and is read from there. An earlier release beside this one goes on
# to plan and to write `plan`; it fails at a key that this one has recorded, and whoever asks it again gets the plan from a replica
# of this one. The rows that are there fulfil the check, so that they need not be looked at.
SQL = """
ALTER TABLE decision
    ALTER COLUMN plan DROP NOT NULL,
    ADD COLUMN packed_plan bytea,
    ADD CONSTRAINT decision_plan_check CHECK ((plan IS NULL) <> (packed_plan IS NULL)) NOT VALID;
-- It is packed already.
ALTER TABLE decision ALTER COLUMN packed_plan SET STORAGE EXTERNAL;
"""


def upgrade() -> None:
    """Make room for packed plans beside those of an earlier release."""
    run_sql(SQL)
