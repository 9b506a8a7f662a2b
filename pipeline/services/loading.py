"""The documents of claimed uploads: read once the claim is committed, never more at once than a process has room for.

Knows nothing of the network. A chunk's small documents come by one question; a big one waits until others like it left.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from uuid import UUID

from pipeline.domain.errors import ServiceUnavailableError
from pipeline.storage.claims import ClaimedUpload, read_documents
from pipeline.storage.database import Database

MIB = 1024 * 1024
ROOM_BYTES = 16 * MIB
"""Of small documents in the memory of one process, and so much beside them for big ones: these may take minutes on
their way out, and nobody else is to wait for that. Meanwhile a document is there about three times."""
GROUP_BYTES = 2 * MIB
"""Read by one question."""

log = logging.getLogger(__name__)
Read = Callable[[Sequence[ClaimedUpload]], Mapping[UUID, bytes | bytearray]]
"""Reads documents from the database; runs in a thread. Raises: ServiceUnavailableError."""


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
    """Documents that are read by one question. Each is lent once; the room is given back as they come back."""

    def __init__(self, members: Sequence[ClaimedUpload], *, read: Read, room: Room) -> None:
        self._members = {each.id: each for each in members}
        self._read = read
        self._room = room
        self._held = 0
        self._contents: dict[UUID, bytes | bytearray] = {}
        self._loading: asyncio.Task[None] | None = None

    @contextmanager
    def borrower(self, invoice_id: UUID) -> Iterator[None]:
        """Give back the room of one document at the end, whether it was lent or not."""
        try:
            yield
        finally:
            self._return(invoice_id)

    async def lend(self, invoice_id: UUID) -> bytes | bytearray:
        """Wait for room and return a document. Raises: ServiceUnavailableError; LookupError if it cannot be had."""
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


class Documents:
    """One for each process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._small, self._big = Room(), Room()

    def of(self, claimed: Sequence[ClaimedUpload]) -> list[tuple[ClaimedUpload, Group]]:
        """Pair each upload with the group that lends its document, in order; nothing is read yet."""
        found: list[tuple[ClaimedUpload, Group]] = []
        for members in _cut(claimed):
            is_small = sum(each.size for each in members) <= GROUP_BYTES
            group = Group(members, read=self._read, room=self._small if is_small else self._big)
            found += [(each, group) for each in members]
        return found

    def _read(self, claimed: Sequence[ClaimedUpload]) -> Mapping[UUID, bytes | bytearray]:
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
