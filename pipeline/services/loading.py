"""The documents of claimed uploads: read once the claim is committed, never more at once than a process has room for.

Knows nothing of the network. A chunk's small documents come by one question, a big one slice by slice as it leaves.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol
from uuid import UUID

from pipeline.domain.errors import ServiceUnavailableError
from pipeline.domain.streamed import Content, Streamed
from pipeline.storage.claims import ClaimedUpload, read_documents, read_slice
from pipeline.storage.database import Database

MIB = 1024 * 1024
ROOM_BYTES = 4 * MIB
"""Of small documents in the memory of one process, and so much beside them for big ones: these may take minutes on
their way out, and nobody else is to wait for that. Meanwhile a small document is there twice."""
GROUP_BYTES = MIB // 2
"""Read by one question. What is larger by itself is streamed."""
SLICE_BYTES = MIB // 4
STREAM_BYTES = 4 * SLICE_BYTES
"""What a streamed document takes at most, however large it is: a slice each with us, the driver and the client."""

log = logging.getLogger(__name__)
Read = Callable[[Sequence[ClaimedUpload]], Mapping[UUID, bytes]]
"""Reads documents from the database; runs in a thread. Raises: ServiceUnavailableError."""
ReadSlice = Callable[[ClaimedUpload, int], bytes | None]
"""Reads from a place on up to a slice; None where there is nothing. In a thread. Raises: ServiceUnavailableError."""


class Lender(Protocol):
    """Lends documents, each once."""

    def borrower(self, invoice_id: UUID) -> AbstractContextManager[None]:
        """Give back the room of one document at the end, whether it was lent or not."""

    async def lend(self, invoice_id: UUID) -> Content:
        """Wait for room and return a document. Raises: ServiceUnavailableError; LookupError if it cannot be had."""


class Room:
    """So many bytes at once; first come, first served. What is larger than all of it goes alone."""

    def __init__(self, size: int = ROOM_BYTES) -> None:
        self._size = size
        self._free = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, size: int) -> int:
        """Wait for room; return what to give back."""
        wanted = min(size, self._size)
        if not self._waiting and wanted <= self._free:
            self._free -= wanted
            return wanted
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((wanted, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(wanted)
            self._let_in()
            raise
        return wanted

    def give_back(self, size: int) -> None:
        """Make room for others."""
        self._free += size
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting:
            wanted, turn = self._waiting[0]
            if not turn.done() and wanted > self._free:
                return
            self._waiting.popleft()
            if not turn.done():
                self._free -= wanted
                turn.set_result(None)


class Group:
    """See Lender: documents that are read by one question. The room is given back as they come back."""

    def __init__(self, members: Sequence[ClaimedUpload], *, read: Read, room: Room) -> None:
        self._members = {each.id: each for each in members}
        self._read = read
        self._room = room
        self._held = 0
        self._contents: dict[UUID, bytes] = {}
        self._loading: asyncio.Task[None] | None = None

    @contextmanager
    def borrower(self, invoice_id: UUID) -> Iterator[None]:
        """See Lender.borrower."""
        try:
            yield
        finally:
            self._return(invoice_id)

    async def lend(self, invoice_id: UUID) -> bytes:
        """See Lender.lend."""
        if self._loading is None:
            self._loading = asyncio.ensure_future(self._load())
        await asyncio.shield(self._loading)
        if invoice_id not in self._contents:
            raise LookupError(f"the document of {invoice_id} cannot be read")
        return self._contents.pop(invoice_id)

    async def _load(self) -> None:
        members = list(self._members.values())
        self._held = await self._room.take(sum(each.size for each in members))
        self._contents = dict(await asyncio.to_thread(self._read, members))

    def _return(self, invoice_id: UUID) -> None:
        gone = self._members.pop(invoice_id)
        self._contents.pop(invoice_id, None)
        if not self._members:
            # The last one; also ends a wait for room that nobody needs any more.
            if self._loading is not None and not self._loading.done():
                self._loading.cancel()
            freed = self._held
        else:
            freed = min(gone.size, self._held)
        self._held -= freed
        if freed:
            self._room.give_back(freed)


class Stream:
    """See Lender: one big document, of which nobody holds more than some slices."""

    def __init__(self, member: ClaimedUpload, *, read: ReadSlice, room: Room) -> None:
        self._member = member
        self._read = read
        self._room = room
        self._held = 0

    @contextmanager
    def borrower(self, _: UUID) -> Iterator[None]:
        """See Lender.borrower."""
        try:
            yield
        finally:
            held, self._held = self._held, 0
            if held:
                self._room.give_back(held)

    async def lend(self, invoice_id: UUID) -> Streamed:
        """See Lender.lend. The first slice is read to see that it is there."""
        self._held = await self._room.take(STREAM_BYTES)
        first = await asyncio.to_thread(self._read, self._member, 0)
        if first is None:
            raise LookupError(f"the document of {invoice_id} cannot be read")
        return Streamed(size=self._member.size, read=lambda: self._slices(first))

    async def _slices(self, piece: bytes | None) -> AsyncIterator[bytes]:
        at = 0
        while piece:
            yield piece
            at += len(piece)
            if at >= self._member.size:
                return
            try:
                piece = await asyncio.to_thread(self._read, self._member, at)
            except ServiceUnavailableError as exc:
                raise ConnectionResetError(f"the document could not be read to its end ({exc})") from exc
        raise ConnectionResetError("the document vanished while it was sent")


class Documents:
    """One for each process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._small, self._big = Room(), Room()

    def of(self, claimed: Sequence[ClaimedUpload]) -> list[tuple[ClaimedUpload, Lender]]:
        """Pair each upload with who lends its document, in order; nothing is read yet."""
        found: list[tuple[ClaimedUpload, Lender]] = []
        for members in _cut(claimed):
            lender: Lender = (
                Group(members, read=self._read, room=self._small)
                if sum(each.size for each in members) <= GROUP_BYTES
                else Stream(members[0], read=self._read_slice, room=self._big)
            )
            found += [(each, lender) for each in members]
        return found

    def _read_slice(self, claimed: ClaimedUpload, start: int) -> bytes | None:
        with self._database.transaction() as session:
            return read_slice(session, claimed, start=start, length=SLICE_BYTES)

    def _read(self, claimed: Sequence[ClaimedUpload]) -> Mapping[UUID, bytes]:
        try:
            with self._database.transaction() as session:
                return read_documents(session, claimed)
        except ServiceUnavailableError:
            raise
        except Exception:
            extra = {"event": "documents_crashed", "invoice": ",".join(str(each.id) for each in claimed)}
            log.exception("could not be read", extra=extra)
        # One document that the database cannot hand out keeps no other back; its invoice is probed after the lease.
        return {k: v for each in claimed for k, v in self._read([each]).items()} if len(claimed) > 1 else {}


def _cut(claimed: Sequence[ClaimedUpload]) -> Iterator[list[ClaimedUpload]]:
    members: list[ClaimedUpload] = []
    size = 0
    for each in claimed:
        if members and size + each.size > GROUP_BYTES:
            yield members
            members, size = [], 0
        members.append(each)
        size += each.size
    if members:
        yield members
