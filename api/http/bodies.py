"""What is held of the bodies of requests that are under way, and by whom.

The first 16 KiB of each body, which nearly every body fits in, are counted apart from what is
beyond: whoever sends large bodies takes no room from small ones. Of either room an address and a
user may take a part each, so that neither one keeps the others out. More than 16 KiB is for whoever
has a valid token. Routes that need one find that out before they read.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope

from api.http.rate_limits import network_of

_KIB, _MIB = 1024, 1024 * 1024
BODY_MAX_BYTES = _MIB
SMALL_MAX_BYTES = 16 * _KIB
_DRAIN_MAX_BYTES = 16 * _MIB


@dataclass(slots=True)
class Room:
    """So many bytes of this process, of which an address and a user may take a part each."""

    max_bytes: int
    address_max_bytes: int
    user_max_bytes: int
    _held: dict[str, int] = field(default_factory=dict)
    _held_bytes: int = 0

    def take(self, address: str, user: str | None, size: int) -> bool:
        """False: this is more than there is, or more than their parts. It is taken all the same."""
        self._held_bytes += size
        of_address = self._held[address] = self._held.get(address, 0) + size
        fits = self._held_bytes <= self.max_bytes and of_address <= self.address_max_bytes
        if user is not None:
            of_user = self._held[user] = self._held.get(user, 0) + size
            fits = fits and of_user <= self.user_max_bytes
        return fits

    def give_back(self, address: str, user: str | None, size: int) -> None:
        self._held_bytes -= size
        for who in (address, user):
            if who is not None:
                left = self._held[who] = self._held[who] - size
                if not left:
                    del self._held[who]


def rooms() -> tuple[Room, Room]:
    """Of one process: for the first 16 KiB of bodies, and for what is beyond."""
    return Room(16 * _MIB, 4 * _MIB, _MIB), Room(48 * _MIB, 12 * _MIB, 4 * _MIB)


class RequestBody:
    """One request's, counted as it comes: a client need not declare how much it sends.

    `identify` tells whose valid token a request has, if any.
    """

    __slots__ = ("_held", "_identify", "_receive", "_rooms", "_scope", "_size", "is_awaited")

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        rooms: tuple[Room, Room],
        identify: Callable[[Scope], str | None],
    ) -> None:
        self._scope = scope
        self._receive = receive
        self._rooms = rooms
        self._identify = identify
        self._size = 0
        self._held: list[tuple[Room, str, str | None, int]] = []
        self.is_awaited = False  # whether a request that takes too long waits for its client

    async def receive(self) -> Message:
        """Raises HTTPException: 413 for what is too large, 429 for what is too much together."""
        self.is_awaited = True
        message = await self._receive()
        self.is_awaited = False
        size = len(message.get("body", b""))
        if not size:
            return message
        before, self._size = self._size, self._size + size
        user: str | None = self._scope.get("state", {}).get("user_id")
        if self._size <= SMALL_MAX_BYTES:
            fits = self._hold(0, user, size)
        else:
            user = user or self._identify(self._scope)
            if self._size > (SMALL_MAX_BYTES if user is None else BODY_MAX_BYTES):
                await self._refuse(413, message)
            small = max(0, SMALL_MAX_BYTES - before)
            fits = (not small or self._hold(0, user, small)) and self._hold(1, user, size - small)
        if not fits:
            await self._refuse(429, message)
        return message

    def _hold(self, room: int, user: str | None, size: int) -> bool:
        client = self._scope["client"]
        held = (self._rooms[room], network_of(client[0]) if client else "unknown", user, size)
        self._held.append(held)
        return held[0].take(*held[1:])

    def release(self) -> None:
        """The request is over."""
        for room, address, user, size in self._held:
            room.give_back(address, user, size)

    async def discard(self) -> None:
        """Read on for a while: a client that is still sending would not see the answer."""
        self.is_awaited = True
        drained = 0
        while drained < _DRAIN_MAX_BYTES:
            message = await self._receive()
            drained += len(message.get("body", b""))
            if not message.get("more_body", False):
                return

    async def _refuse(self, status: int, message: Message) -> NoReturn:
        if message.get("more_body", False):
            await self.discard()
        raise HTTPException(status)
