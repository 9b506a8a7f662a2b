"""Arming: where this installation may send from, and the moves of what must be asked about after an arming.

The first row says where the tables were made, or where the installation stood that lived without them: that place, and
no copy of it, may arm itself once. Without a seal it sends nothing yet; `postiljon db upgrade` seals it right after.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

NEW_TRANSITIONS = (("queued", "in_doubt"), ("waiting", "in_doubt"))
MADE_HERE = """
    INSERT INTO arming (server, database, environment, operator_host, armed_at, armed_by)
    SELECT (SELECT CAST(system_identifier AS text) FROM pg_control_system()),
        (SELECT CAST(oid AS text) FROM pg_database WHERE datname = current_database())
            || '/' || CAST(CAST('arming' AS regclass) AS oid),
        '', '', now(), 'migration 0004'
"""


def upgrade() -> None:
    op.create_table(
        "arming",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("server", sa.Text(), nullable=False),
        sa.Column("database", sa.Text(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("operator_host", sa.Text(), nullable=False),
        sa.Column("key_mark", sa.Text(), nullable=True),
        sa.Column("seal", sa.Text(), nullable=True),
        sa.Column("armed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("armed_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.execute(MADE_HERE)
    moves = [{"source": source, "target": target} for source, target in NEW_TRANSITIONS]
    op.bulk_insert(sa.table("transition", sa.column("source", sa.Text), sa.column("target", sa.Text)), moves)
