"""Pace, circuits, fair shares, deadlines, and the counter of processing that nobody lived to finish."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

DUE = "state IN ('queued', 'waiting', 'in_doubt')"


def _instant(name: str) -> sa.Column[sa.DateTime]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=True)


def _count(name: str) -> sa.Column[sa.Integer]:
    return sa.Column(name, sa.Integer(), nullable=False, server_default="0")


def upgrade() -> None:
    op.add_column("company", sa.Column("weight", sa.Float(), nullable=False, server_default="1"))
    op.add_column("company", sa.Column("cap", sa.Integer(), nullable=True))
    op.add_column("company", sa.Column("deficit", sa.Float(), nullable=False, server_default="0"))
    op.add_column("company", sa.Column("uploads_per_second", sa.Float(), nullable=True))
    op.add_column("company", sa.Column("reads_per_second", sa.Float(), nullable=True))
    op.add_column("invoice", _count("unfinished"))
    op.add_column("invoice", _instant("deadline"))
    op.create_index(
        "invoice_deadline",
        "invoice",
        ["company_id", "deadline", "due_at"],
        postgresql_where=sa.text(f"deadline IS NOT NULL AND {DUE}"),
    )
    op.add_column("lease", _instant("taken_at"))
    op.add_column("lease", _instant("done_at"))
    # The alarm for the whole fleet gave way to one for each company; nobody would end it any more.
    op.execute("UPDATE alarm SET ended_at = now() WHERE kind = 'work_waits' AND ended_at IS NULL")
    op.create_table(
        "pace",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        _instant("next_at"),
        _instant("blocked_until"),
        sa.Column("rate", sa.Float(), nullable=True),
        sa.Column("noise", sa.Float(), nullable=False, server_default="0"),
        sa.Column("refused_rate", sa.Float(), nullable=True),
        _instant("refused_at"),
        _instant("window_at"),
        _count("answered"),
        _count("throttled"),
        sa.Column("speed", sa.Float(), nullable=False, server_default="0"),
        _instant("speed_at"),
        sa.PrimaryKeyConstraint("scope", "lane"),
    )
    op.create_table(
        "circuit",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        _instant("retry_at"),
        _instant("canary_until"),
        _count("trips"),
        sa.Column("evidence", sa.Text(), nullable=True),
        _instant("window_at"),
        _count("answered"),
        _count("failed"),
        _instant("answered_at"),
        sa.PrimaryKeyConstraint("scope"),
    )
