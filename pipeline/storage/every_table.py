"""All tables together, as the migrations must add up to them; `make check` compares."""

from typing import Final

from sqlmodel import SQLModel

from pipeline.storage import batch_tables, case_tables, fleet_tables, tables

MODULES: Final = (tables, batch_tables, case_tables, fleet_tables)
"""A table is known once its module is imported."""
METADATA: Final = SQLModel.metadata
