"""tables.py, the table of moves and the migrations say the same, and a difference of any kind is seen."""

import re

import pytest

from pipeline.storage import schema

from .rows import change


def test_code_and_migrations_agree(database):
    assert schema.drift(database.engine) == []


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("ALTER TABLE invoice ADD COLUMN colour text", "colour"),
        ("ALTER TABLE invoice ALTER COLUMN filename DROP NOT NULL", "filename"),
        ("ALTER TABLE invoice ALTER COLUMN uploads TYPE bigint", "uploads"),
        (
            "ALTER TABLE invoice DROP CONSTRAINT invoice_cancelled_never_left",
            "only in the code: .*cancelled_never_left",
        ),
        ("ALTER TABLE invoice ADD CHECK (uploads < 99)", "only in the migrations: .*uploads < 99"),
        (
            "DO $$ BEGIN DROP INDEX invoice_due; CREATE INDEX invoice_due ON invoice_open (company_id) WHERE state = 'queued'; END $$",
            "only in the migrations: .*WHERE .state = 'queued'",
        ),
        ("ALTER TABLE alarm DROP CONSTRAINT alarm_invoice_id_fkey", "alarm_invoice_id_fkey"),
        ("DELETE FROM transition WHERE source = 'delivered'", "move only in the code: delivered to failed"),
        ("INSERT INTO transition VALUES ('in_doubt', 'sending')", "move only in the migrations: in_doubt to sending"),
    ],
)
def test_a_difference_is_told(database, statement, told):
    change(database, statement)

    differences = "\n".join(schema.drift(database.engine))

    assert re.search(told, differences), differences
