"""How messages name a file: safe for a terminal, short, an entry behind its ZIP. Knows nothing of the file."""

from pipeline.domain.document_values import clean_text

MAX_SHOWN_NAME = 120
"""Names are cut here in messages, so that one line stays one line."""


def shown_name(filename: str, inner: str | None = None) -> str:
    """Return the name for a message; an entry of a ZIP is written behind the ZIP after an arrow."""
    outer = clean_text(filename, limit=MAX_SHOWN_NAME) or "(no name)"
    if inner is None:
        return outer
    return f"{outer} > {clean_text(inner, limit=MAX_SHOWN_NAME) or '(no name)'}"
