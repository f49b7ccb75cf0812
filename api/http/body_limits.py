"""Limits on request bodies: the size of each, and the bytes of all bodies in memory.

`LimitedBody.receive` cuts off a body that is too large while it arrives, so a client can't evade
the limit by declaring a smaller size or none. A body may have 16 KiB, or 1 MiB with a valid access
token. Routes that require a token check it before they read the body.

Two budgets bound the bodies in memory: one for the first 16 KiB of each body, one for the rest.
Large bodies so leave room for small ones. An address and a user may use only a part of each budget,
so that none of them keeps the others out.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope

from api.http.usage_limits import network_of

_KIB, _MIB = 1024, 1024 * 1024
# With a valid access token, and without one.
BODY_MAX_BYTES = _MIB
UNAUTHENTICATED_BODY_MAX_BYTES = 16 * _KIB
# Bytes that are read and dropped of a body that is refused. A client that sends more than this
# may see a reset connection instead of the response.
_DRAIN_MAX_BYTES = 16 * _MIB


@dataclass(slots=True)
class ByteBudget:
    """Bytes of bodies that this process holds, with a limit on the part of an address and a user.

    Used by one event loop only, so no lock is needed.
    """

    max_bytes: int
    address_max_bytes: int
    user_max_bytes: int
    # By address and by user, without those that hold nothing: their number stays bounded.
    _held: dict[str, int] = field(default_factory=dict)
    _held_bytes: int = 0

    def reserve(self, address: str, user_id: str | None, size: int) -> bool:
        """Count bytes, and return whether they are within every limit.

        Bytes over a limit are counted too, since they are in memory. `release` them as well.
        """
        self._held_bytes += size
        of_address = self._held[address] = self._held.get(address, 0) + size
        fits = self._held_bytes <= self.max_bytes and of_address <= self.address_max_bytes
        if user_id is not None:
            of_user = self._held[user_id] = self._held.get(user_id, 0) + size
            fits = fits and of_user <= self.user_max_bytes
        return fits

    def release(self, address: str, user_id: str | None, size: int) -> None:
        """Return bytes that `reserve` counted."""
        self._held_bytes -= size
        for holder in (address, user_id):
            if holder is not None:
                remaining = self._held[holder] = self._held[holder] - size
                if not remaining:
                    del self._held[holder]


class BodyBudgets:
    """The two budgets of a process: for the first 16 KiB of each body, and for the rest."""

    def __init__(self) -> None:
        self.start = ByteBudget(16 * _MIB, address_max_bytes=4 * _MIB, user_max_bytes=_MIB)
        self.rest = ByteBudget(48 * _MIB, address_max_bytes=12 * _MIB, user_max_bytes=4 * _MIB)


class LimitedBody:
    """The body of one request, counted as it arrives and refused once it is over a limit.

    `identify` returns the id of the user whose valid access token a request has, if any.
    """

    __slots__ = ("_budgets", "_identify", "_receive", "_reserved", "_scope", "_size", "is_awaited")

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        budgets: BodyBudgets,
        identify: Callable[[Scope], str | None],
    ) -> None:
        self._scope = scope
        self._receive = receive
        self._budgets = budgets
        self._identify = identify
        self._size = 0
        self._reserved: list[tuple[ByteBudget, str, str | None, int]] = []
        # True while the request waits for its client. A timeout then is the client's.
        self.is_awaited = False

    async def receive(self) -> Message:
        """Return the next part of the body.

        Raises HTTPException: 413 for a body that is too large, 429 for too many bodies at once.
        """
        self.is_awaited = True
        message = await self._receive()
        self.is_awaited = False
        size = len(message.get("body", b""))
        if not size:
            return message
        before, self._size = self._size, self._size + size
        user_id: str | None = self._scope.get("state", {}).get("user_id")
        if self._size > UNAUTHENTICATED_BODY_MAX_BYTES and user_id is None:
            # A public route: its caller may be signed in all the same.
            user_id = self._identify(self._scope)
        if self._size > (UNAUTHENTICATED_BODY_MAX_BYTES if user_id is None else BODY_MAX_BYTES):
            await self._refuse(413, message)
        start = min(size, max(0, UNAUTHENTICATED_BODY_MAX_BYTES - before))
        if not self._reserve(user_id, start=start, rest=size - start):
            await self._refuse(429, message)
        return message

    def release(self) -> None:
        """Return the bytes of this body to the budgets, at the end of its request."""
        for budget, address, user_id, size in self._reserved:
            budget.release(address, user_id, size)

    async def drain(self) -> None:
        """Read and drop the body. A client sees the response only when it has stopped sending."""
        self.is_awaited = True
        drained_bytes = 0
        while drained_bytes < _DRAIN_MAX_BYTES:
            message = await self._receive()
            drained_bytes += len(message.get("body", b""))
            if not message.get("more_body", False):
                return

    def _reserve(self, user_id: str | None, *, start: int, rest: int) -> bool:
        client = self._scope["client"]
        address = network_of(client[0]) if client else "unknown"
        for budget, size in ((self._budgets.start, start), (self._budgets.rest, rest)):
            if size:
                self._reserved.append((budget, address, user_id, size))
                if not budget.reserve(address, user_id, size):
                    return False
        return True

    async def _refuse(self, status: int, message: Message) -> NoReturn:
        if message.get("more_body", False):
            await self.drain()
        raise HTTPException(status)
