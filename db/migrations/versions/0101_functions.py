"""Functions are created after all revisions, from files of their own (db/migrations/functions).

Nothing else changes.
"""

revision = "0101"
down_revision = "0100"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass
