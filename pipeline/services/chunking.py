"""How picked invoices are cut into chunks, and in which order the chunks go. Pure; knows no database."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from uuid import UUID

from pipeline.domain.state import State
from pipeline.settings import Settings
from pipeline.storage.dispatching import DueInvoice

SUSPECTS_TOGETHER = 10
"""Invoices of which one processing has ended in a death: many are innocent, they were in the same chunk."""
ALONE_FROM = 2
"""From so many deaths on an invoice goes alone: whoever dies then, it was this one, and no other is touched."""


def cut(due: Iterable[DueInvoice], settings: Settings) -> list[list[DueInvoice]]:
    """Cut into chunks of one company and one kind, within the limits in number and bytes; suspects apart.

    The order inside a company is kept. Of the chunks, the first of every company comes first, then the second ones:
    the broker hands them out in this order.
    """
    chunks: list[list[DueInvoice]] = []
    for (_, _, suspicion), group in groupby(sorted(due, key=_kind), key=_kind):
        chunks += _fill(group, most=_most(suspicion, settings), most_bytes=settings.chunk_bytes)
    return _in_turns(chunks)


def _kind(invoice: DueInvoice) -> tuple[UUID, bool, int]:
    return invoice.company_id, invoice.state is State.IN_DOUBT, min(invoice.unfinished, ALONE_FROM)


def _most(suspicion: int, settings: Settings) -> int:
    if suspicion == 0:
        return settings.chunk_invoices
    return 1 if suspicion >= ALONE_FROM else min(SUSPECTS_TOGETHER, settings.chunk_invoices)


def _fill(invoices: Iterable[DueInvoice], *, most: int, most_bytes: int) -> Iterator[list[DueInvoice]]:
    chunk: list[DueInvoice] = []
    size = 0
    for invoice in invoices:
        if chunk and (len(chunk) >= most or size + invoice.size > most_bytes):
            yield chunk
            chunk, size = [], 0
        chunk.append(invoice)
        size += invoice.size
    if chunk:
        yield chunk


def _in_turns(chunks: Iterable[list[DueInvoice]]) -> list[list[DueInvoice]]:
    turns: Counter[UUID] = Counter()
    ranked = []
    for chunk in chunks:
        ranked.append((turns[chunk[0].company_id], chunk))
        turns[chunk[0].company_id] += 1
    return [chunk for _, chunk in sorted(ranked, key=lambda each: each[0])]
