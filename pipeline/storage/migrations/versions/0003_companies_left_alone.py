"""Companies that the operator wants left alone for a while: one instant instead of a new one in every invoice."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("company", sa.Column("look_after", sa.DateTime(timezone=True), nullable=True))
