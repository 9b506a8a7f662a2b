"""Alembic migrations, run by pipeline.storage.schema and never by a worker at its start."""
