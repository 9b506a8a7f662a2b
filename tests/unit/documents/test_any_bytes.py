"""Inspection of anything at all: a Document or a DocumentError, never another exception."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.document import Document, inspect
from pipeline.domain.errors import DocumentError

from .samples import SOAP, finvoice, ubl, zipped

SEEDS = [
    finvoice(),
    finvoice("UTF-16"),
    SOAP.encode() + finvoice(),
    ubl(),
    zipped(("a.xml", ubl()), ("b.pdf", b"%PDF")),
]


def outcome_of(content: bytes) -> Document | DocumentError:
    try:
        return inspect(content, filename="f")
    except DocumentError as exc:
        return exc


@given(st.binary(max_size=300), st.sampled_from([b"", b"<", b"<?xml ", b"PK\x03\x04", b"PK\x05\x06", b"\xff\xfe<\0"]))
def test_bytes_give_document_or_error(tail, start):
    """Arbitrary bytes either make a document or are refused in one printable line."""
    outcome = outcome_of(start + tail)

    assert isinstance(outcome, Document) or str(outcome).isprintable()


@given(st.sampled_from(SEEDS), st.data())
def test_damaged_documents_give_document_or_error(seed, data):
    """A good document with some bytes overwritten or cut never raises anything but a DocumentError."""
    damaged = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        piece = data.draw(
            st.sampled_from([b"<", b">", b"\0", b"\xff", b"&", b"PK\x01\x02", b"\xff\xff\xff\xff", b"]]>"])
        )
        damaged[at : at + len(piece)] = piece
    cut = data.draw(st.integers(0, len(damaged)) | st.just(len(damaged)))

    outcome = outcome_of(bytes(damaged[:cut]))

    assert isinstance(outcome, Document) or str(outcome).isprintable()


@given(
    st.text(alphabet=st.characters(codec="latin-1"), max_size=12),
    st.sampled_from(["utf-7", "hex", "idna", "punycode", "unicode_escape", "utf-16", "cp037", "gbk", "latin1", ""]),
)
def test_any_declared_encoding_is_answered(text, encoding):
    """Whatever encoding is declared, the answer is a document or a DocumentError."""
    content = f'<?xml version="1.0" encoding="{encoding}"?><a>{text}</a>'.encode("latin-1")

    outcome = outcome_of(content)

    assert isinstance(outcome, Document) or str(outcome).isprintable()
