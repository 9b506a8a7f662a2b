"""Invoices to measure with: real UBL in the sizes of real ones, seeded, each different from every other.

Sizes: nineteen of twenty follow the lognormal fitted to the 38 published invoices without attachment that we test with
(XRechnung test suite: median 9.0 KB, sigma 0.30), one of twenty carries an attachment as two of those 40 do. All lie
between 4 and 200 KB; text grows by remarks, attachments are base64 of random bytes, so that nothing shrinks in the
database that would not shrink in life.
"""

import base64
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from uuid import NAMESPACE_URL, UUID, uuid5

from simulator.samples import ubl

MEDIAN_BYTES, SIGMA = 8_955, 0.30
ATTACHMENT_SHARE = 0.05
ATTACHMENT_MEDIAN_BYTES, ATTACHMENT_SIGMA = 90_000, 0.8
SMALLEST_BYTES, LARGEST_BYTES = 4_000, 200_000
PATTERNS = 200
"""So many different invoices; of the rest each has a number of its own and other remarks."""
POOL_BYTES = 1_000_000
WORDS = (
    *("toimitus", "lasku", "erä", "tilaus", "rivi", "huomautus", "viite"),
    *("sopimus", "määrä", "hinta", "asiakas", "varasto", "kuljetus"),
)
NUMBER_LENGTH = 12
REFERENCE = "<cac:AccountingSupplierParty>"
ATTACHMENT = (
    "<cac:AdditionalDocumentReference><cbc:ID>liite</cbc:ID><cac:Attachment><cbc:EmbeddedDocumentBinaryObject "
    'mimeCode="application/pdf" filename="liite.pdf">{}</cbc:EmbeddedDocumentBinaryObject></cac:Attachment>'
    "</cac:AdditionalDocumentReference>"
)


@dataclass(frozen=True, kw_only=True)
class Payload:
    """One invoice to send."""

    uuid: UUID
    content: bytes


def payloads(*, count: int, seed: int) -> Iterator[Payload]:
    """Make invoices one by one; the same for the same seed, whatever the count."""
    patterns = [_halves(seed, index) for index in range(PATTERNS)]
    pool = Random(seed)
    noise = base64.b64encode(pool.randbytes(POOL_BYTES)).decode()
    text = " ".join(pool.choice(WORDS) for _ in range(POOL_BYTES // 8))
    for index in range(count):
        chance = Random(seed * 1_000_003 + index)
        start, end = patterns[index % PATTERNS]
        number = f"{seed}-{index:0{NUMBER_LENGTH}d}"
        size, attached = draw_size(chance)
        missing = max(0, size - len(start.encode()) - len(end.encode()) - len(number))
        filling = _attachment(chance, noise, missing) if attached else _remarks(chance, text, missing)
        document = (
            f"{start.format(number=number, remarks='' if attached else filling)}{filling if attached else ''}{end}"
        )
        yield Payload(uuid=uuid5(NAMESPACE_URL, f"bench/{number}"), content=document.encode())


def draw_size(chance: Random) -> tuple[int, bool]:
    """Draw how many bytes an invoice has, and whether most of them are an attachment."""
    attached = chance.random() < ATTACHMENT_SHARE
    median, sigma = (ATTACHMENT_MEDIAN_BYTES, ATTACHMENT_SIGMA) if attached else (MEDIAN_BYTES, SIGMA)
    drawn = chance.lognormvariate(math.log(median), sigma)
    return int(min(max(drawn, SMALLEST_BYTES), LARGEST_BYTES)), attached


def write(folder: Path, *, count: int, seed: int) -> list[Path]:
    """Write invoices into a folder, each named by its UUID; gives the paths in order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for payload in payloads(count=count, seed=seed):
        path = folder / f"{payload.uuid}.xml"
        path.write_bytes(payload.content)
        paths.append(path)
    return paths


def _halves(seed: int, index: int) -> tuple[str, str]:
    document = ubl(seed, index).decode()
    number = document.split("<cbc:ID>", 1)[1].split("</cbc:ID>", 1)[0]
    before, after = document.replace("{", "(").replace("}", ")").split(REFERENCE, 1)
    head = before.replace(f"<cbc:ID>{number}</cbc:ID>", "<cbc:ID>{number}</cbc:ID>", 1)
    return head.replace("<cbc:DocumentCurrencyCode>", "{remarks}<cbc:DocumentCurrencyCode>", 1), REFERENCE + after


def _attachment(chance: Random, noise: str, size: int) -> str:
    length = max(4, size - len(ATTACHMENT)) // 4 * 4
    start = chance.randrange(max(1, len(noise) - length))
    return ATTACHMENT.format(noise[start : start + length])


def _remarks(chance: Random, text: str, size: int) -> str:
    length = size - len("<cbc:Note></cbc:Note>")
    if length <= 0:
        return ""
    start = chance.randrange(len(text) - length)
    # In characters: a few bytes more, for the letters that take two.
    return f"<cbc:Note>{text[start : start + length]}</cbc:Note>"
