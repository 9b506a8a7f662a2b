"""Writes XML by hand, so that the bytes are the same on every machine. Knows nothing of invoices."""

from html import escape


def tag(name: str, *content: str, **attributes: str) -> str:
    """Write an element around content that is markup already."""
    written = "".join(f' {key}="{escape(value)}"' for key, value in attributes.items())
    inner = "\n".join(content)
    return f"<{name}{written}>\n{_indented(inner)}\n</{name}>" if inner else f"<{name}{written}/>"


def leaf(name: str, text: object, **attributes: str) -> str:
    """Write an element around text."""
    written = "".join(f' {key}="{escape(value)}"' for key, value in attributes.items())
    return f"<{name}{written}>{escape(str(text), quote=False)}</{name}>"


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.split("\n"))
