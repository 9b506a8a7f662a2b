"""How documents are kept: as they came, in every part there is and in every one that will be."""

from datetime import timedelta

from pipeline.storage.partitions import make_months

from .rows import NOW, change, query

STORED = """
    SELECT part.inhrelid::regclass::text AS part, attribute.attstorage AS storage
    FROM pg_inherits AS part JOIN pg_attribute AS attribute ON attribute.attrelid = part.inhrelid
    WHERE part.inhparent = 'document'::regclass AND attname = 'content'
"""
EXTERNAL = "e"


def test_no_part_compresses_documents(database):
    """The parts that the migrations made, and the months that are made later."""
    before = {row.part for row in query(database, STORED)}
    with database.transaction() as session:
        make_months(session.connection(), now=NOW + timedelta(days=400))

    rows = query(database, STORED)

    assert {row.part for row in rows} > before
    assert {row.storage for row in rows} == {EXTERNAL}


def test_what_was_compressed_before_is_still_read(database):
    """A document of an earlier version stays as it is stored, and comes back as it came."""
    content = b"<Invoice>" + b" " * 100_000 + b"</Invoice>"
    insert = "INSERT INTO document VALUES (:sha256, :content, :size, 'XML', :now)"
    change(database, "ALTER TABLE document ALTER COLUMN content SET STORAGE EXTENDED")
    change(database, insert, sha256=b"\1", content=content, size=len(content), now=NOW)
    change(database, "ALTER TABLE document ALTER COLUMN content SET STORAGE EXTERNAL")

    (row,) = query(database, "SELECT content, pg_column_size(content) AS stored FROM document WHERE sha256 = '\\x01'")

    assert bytes(row.content) == content
    assert row.stored < len(content) // 10
