"""Everything people made belongs to a workspace; what has a digest for a name is told apart by both.

What was made before belongs to the workspace "local". Columns of results that nothing read are dropped.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

LOCAL = "local"
NAMED = {"models": "id", "datasets": "id", "projects": "key"}  # table: the digest in its primary key
COUNTED = ("results", "jobs")  # the number of a deleted row is never given to another
UNREAD = ("loss", "negligible", "size_bytes", "size_ratio", "latency_ratio")


def upgrade() -> None:
    for table in ("models", "datasets"):  # always empty, until now
        op.execute(f"ALTER TABLE {table} RENAME COLUMN project TO workspace")
    for table in ("projects", "comparisons", *COUNTED):
        op.add_column(table, sa.Column("workspace", sa.Text()))
    for table in (*NAMED, "comparisons", *COUNTED):
        op.execute(f"UPDATE {table} SET workspace = '{LOCAL}'")
    op.execute("ALTER TABLE jobs RENAME COLUMN lease_until TO beats")

    for table, digest in NAMED.items():
        with op.batch_alter_table(table) as batch:
            batch.alter_column("workspace", existing_type=sa.Text(), nullable=False)
            batch.drop_constraint(f"pk_{table}", type_="primary")
            batch.create_primary_key(f"pk_{table}", ["workspace", digest])
    with op.batch_alter_table("comparisons") as batch:
        batch.alter_column("workspace", existing_type=sa.Text(), nullable=False)
    counts = _counts()
    for table in COUNTED:
        with op.batch_alter_table(table, table_kwargs={"sqlite_autoincrement": True}) as batch:
            batch.alter_column("workspace", existing_type=sa.Text(), nullable=False)
            for column in UNREAD if table == "results" else ():
                batch.drop_column(column)
    _restore(counts)
    op.drop_index("ix_jobs_state_id", "jobs")
    op.create_index("ix_jobs_state_id_workspace", "jobs", ["state", "id", "workspace"])


def _counts() -> dict[str, int]:
    """The largest number that SQLite gave to a row of each table; a copy of the table knows only those still there."""
    if op.get_bind().dialect.name != "sqlite":
        return {}
    return dict(op.get_bind().execute(sa.text("SELECT name, seq FROM sqlite_sequence")).all())


def _restore(counts: dict[str, int]) -> None:
    for table, largest in counts.items():
        op.get_bind().execute(sa.text("DELETE FROM sqlite_sequence WHERE name = :name"), {"name": table})
        op.get_bind().execute(sa.text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :seq)"),
                              {"name": table, "seq": largest})
