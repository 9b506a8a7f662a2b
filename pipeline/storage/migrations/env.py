"""Alembic's entry: takes the connection from pipeline.storage.schema, reads no configuration of its own."""

from alembic import context

from pipeline.storage.every_table import METADATA

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
