"""The body of an upload, read back by an independent reader."""

import asyncio
import email
import email.policy
from collections.abc import AsyncIterator, Iterator
from email.message import EmailMessage

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.domain.streamed import Streamed
from pipeline.maventa.multipart import encode_upload, header_safe_filename


def encode(
    content: bytes, fields: list[tuple[str, str]], *, filename: str = "a.xml", boundaries: str = "b"
) -> tuple[bytes, str]:
    names: Iterator[str] = iter(boundaries)
    body, content_type = encode_upload(
        fields=fields,
        filename=filename,
        content=content,
        content_type="application/xml",
        make_boundary=lambda: f"edge-{next(names)}",
    )
    assert isinstance(body, bytes)
    return body, content_type


def parts(body: bytes, content_type: str) -> list[tuple[bytes, bytes]]:
    edge = content_type.partition("boundary=")[2].encode()
    pieces = body.split(b"--" + edge)
    assert pieces[0] == b""
    assert pieces[-1] == b"--\r\n"
    return [tuple(piece[2:-2].split(b"\r\n\r\n", 1)) for piece in pieces[1:-1]]


@given(content=st.binary(max_size=300), value=st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=50))
@example(content=b"\r\n", value="\r\n")
@example(content=b"--edge", value="--edge-")
def test_content_and_fields_come_back_unchanged(content: bytes, value: str) -> None:
    body, content_type = encode(content, [("sender_comment", value), ("lang", "FI")])

    read = parts(body, content_type)

    assert [value for _, value in read] == [value.encode(), b"FI", content]
    assert b'name="file"; filename="a.xml"' in read[-1][0]
    assert b"Content-Type: application/xml" in read[-1][0]


def test_streamed_body_is_the_same_each_time_it_is_read() -> None:
    async def read() -> AsyncIterator[bytes]:
        for piece in (b"<in", b"voice/>"):
            yield piece

    async def collect(body: Streamed) -> bytes:
        return b"".join([piece async for piece in body.read()])

    given = {"fields": [("lang", "FI")], "filename": "a.xml", "content_type": "application/xml"}
    body, _ = encode_upload(content=Streamed(size=10, read=read), make_boundary=lambda: "edge-b", **given)
    assert isinstance(body, Streamed)
    whole, _ = encode(b"<invoice/>", [("lang", "FI")])

    assert [asyncio.run(collect(body)) for _ in range(2)] == [whole, whole]
    assert body.size == len(whole)


def test_boundary_found_inside_is_replaced() -> None:
    body, content_type = encode(b"x edge-b x", [("lang", "edge-c")], boundaries="bcd")

    assert content_type.endswith("edge-d")
    assert parts(body, content_type)[-1][1] == b"x edge-b x"


@pytest.mark.parametrize(
    ("given_name", "safe"),
    [
        ("invoice.xml", "invoice.xml"),
        ("lasku 1 åäö.xml", "lasku 1 åäö.xml"),
        ("/tmp/x/../a.xml", "a.xml"),
        ("C:\\erp\\a.xml", "a.xml"),
        ('a"; filename="b.xml', "a_; filename=_b.xml"),
        ("a\r\nX-Evil: 1\r\n\r\n.xml", "a__X-Evil: 1____.xml"),
        ("a\u2028b.xml", "a_b.xml"),
        ("a\udce4.xml", "a_.xml"),
        ("", "invoice.xml"),
        ("..", "invoice.xml"),
        ("folder/", "invoice.xml"),
        ("x" * 400 + ".xml", "x" * 251 + ".xml"),
    ],
)
def test_file_name_is_safe_inside_a_header(given_name: str, safe: str) -> None:
    assert header_safe_filename(given_name, content_type="application/xml") == safe


@given(name=st.text(max_size=80))
def test_no_file_name_leaves_its_header(name: str) -> None:
    body, content_type = encode(b"<a/>", [], filename=name)

    head, content = parts(body, content_type)[0]
    message = email.message_from_bytes(head + b"\r\n\r\n", policy=email.policy.HTTP)

    assert content == b"<a/>"
    assert isinstance(message, EmailMessage)
    assert message.keys() == ["Content-Disposition", "Content-Type"]
