"""Captured text into where an invoice can be sent instead. Knows the formats' tables, nothing of XML or of rules."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from pipeline.domain.document_format import Captured, FormatFamily
from pipeline.domain.document_letter import Joined, Letter
from pipeline.domain.document_values import clean_text, read_country, read_eia, read_email
from pipeline.domain.recipient import Recipient

EMAIL_SCHEME: Final = "EM"
"""EAS code of an electronic address that is an e-mail address. Source: CEF EAS code list."""
NO_ADDRESSES: Final = frozenset({"0000000", "XXXXXXX"})
"""CodiceDestinatario of a buyer without an address, at home and abroad. Source: FatturaPA 1.2.2, field 1.1.4."""

_Texts = Mapping[str, Captured]


def build_recipient(family: FormatFamily, captured: Mapping[str, Captured]) -> Recipient:
    """Turn captured text into a recipient; whatever cannot be read stays None."""
    eia, email = read_addresses(family, captured)
    operator = next(_texts(family.paths.get("recipient_operator", ()), captured), "")
    letter = next((letter for letter in family.letters if _has_address(letter, captured)), None)
    recipient = Recipient(
        name=_name((letter, *family.letters) if letter else family.letters, captured),
        eia=eia,
        operator=read_eia(operator),
        email=email,
    )
    return _addressed(recipient, letter, captured) if letter else recipient


def read_addresses(family: FormatFamily, captured: Mapping[str, Captured]) -> tuple[str | None, str | None]:
    """Return the e-invoice and the e-mail address of the recipient, all that a header has of it."""
    eia, email = _endpoint(family, captured)
    if email is None:
        emails = (read_email(text) for text in _texts(family.paths.get("recipient_email", ()), captured))
        email = next(filter(None, emails), None)
    return eia, email


def _addressed(recipient: Recipient, letter: Letter, captured: _Texts) -> Recipient:
    lines = _lines(letter, captured)
    return replace(
        recipient,
        address1=lines[0] if lines else None,
        address2=clean_text(", ".join(lines[1:])),
        post_code=_text(letter.post_code, captured),
        post_office=_text(letter.post_office, captured),
        state=_text(letter.state, captured),
        country=read_country(_text(letter.country, captured) or ""),
    )


def _endpoint(family: FormatFamily, captured: _Texts) -> tuple[str | None, str | None]:
    """Return the electronic address, and the same as an e-mail address: one of both at most."""
    paths = family.paths.get("recipient_eia", ())
    address = next((captured[path] for path in paths if path in captured), None)
    if address is None or address.text in NO_ADDRESSES:
        return None, None
    scheme = address.attributes.get("schemeID")
    if scheme == EMAIL_SCHEME:
        return None, read_email(address.text)
    return read_eia(address.text, scheme=scheme), None


def _has_address(letter: Letter, captured: _Texts) -> bool:
    # A name and a country alone are no address: the next letter may have one.
    return letter.post_code in captured or letter.post_office in captured or bool(_lines(letter, captured))


def _name(letters: Iterable[Letter], captured: _Texts) -> str | None:
    candidates = (joined for letter in letters for joined in letter.names)
    return next(filter(None, (_join(joined, captured) for joined in candidates)), None)


def _lines(letter: Letter, captured: _Texts) -> list[str]:
    lines = [line for joined in letter.lines if (line := _join(joined, captured))]
    if box := _text(letter.post_box, captured):
        # A bare number on a line of its own is read as a house; these words every post understands.
        lines.append(f"PO Box {box}" if box.isdecimal() else box)
    return list(dict.fromkeys(lines))


def _join(paths: Joined, captured: _Texts) -> str | None:
    joined = ""
    for text in _texts(paths, captured):
        # Many write the house number twice: behind the street and in its own place.
        if not joined.endswith((f" {text}", f",{text}")):
            joined = f"{joined} {text}"
    return clean_text(joined)


def _text(path: str | None, captured: _Texts) -> str | None:
    return clean_text(captured[path].text) if path and path in captured else None


def _texts(paths: Iterable[str], captured: _Texts) -> Iterator[str]:
    return (captured[path].text for path in paths if path in captured)
