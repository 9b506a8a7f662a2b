"""How large and how deep a document may be. Knows no format."""

from dataclasses import dataclass

MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentLimits:
    """Bounds a document is held to before anything is stored; every one of them can be raised in the settings."""

    max_bytes: int = 150 * MEGABYTE
    """The file. Print takes up to 3 attachments of 50 MB (operator's print pages); no request cap is known."""
    max_unpacked_bytes: int = 250 * MEGABYTE
    """All entries of a ZIP together. PDF hardly compresses, so 150 MB packed rarely holds more than this."""
    max_ratio: int = 200
    """Unpacked to packed. Deflate ends at 1032:1; invoices of many alike lines stay below 100:1."""
    ratio_free_bytes: int = 1 * MEGABYTE
    """Below this unpacked size the ratio is not looked at: a small bomb harms nobody."""
    max_entries: int = 200
    """Files in a ZIP: one invoice, its image and attachments. Nothing published asks for more than a dozen."""
    max_depth: int = 200
    """Nested elements. The deepest published format with envelope and signature stays below 30."""
    max_token_bytes: int = 2 * MEGABYTE
    """One tag, comment or processing instruction. Text is no token: embedded attachments are not bound by it."""
    max_distinct_names: int = 20_000
    """Different element and attribute names, which a parser keeps in memory. UBL as a whole has about 3,000."""


DEFAULT_LIMITS = DocumentLimits()
