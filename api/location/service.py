"""Use cases of addresses: move the default address, add and remove an address.

Lock: the row of the user, so that the addresses of one user change one after the other. A user with
addresses always has exactly one default address.
"""

from dataclasses import dataclass
from uuid import UUID

from core.errors import NotFound, TooManyAddresses
from core.tokens import Identity
from db import addresses
from db.addresses import Address
from db.pool import Pool

ADDRESSES_MAX = 20


@dataclass(frozen=True, slots=True)
class Place:
    """A place in WGS 84 degrees. Without a label it is called `home`."""

    latitude: float
    longitude: float
    label: str | None


async def move_default(pool: Pool, caller: Identity, place: Place) -> Address:
    """Move the default address of the caller, or add it; return it.

    Without a label the address keeps the one that it has.
    """
    async with pool.acquire() as conn, conn.transaction():
        await addresses.lock(conn, caller.user_id)
        return await addresses.set_default(
            conn,
            caller.user_id,
            label=place.label,
            latitude=place.latitude,
            longitude=place.longitude,
        )


async def add(pool: Pool, caller: Identity, place: Place, *, is_default: bool) -> Address:
    """Add an address of the caller; return it. Raises TooManyAddresses.

    The first address is the default one in any case.
    """
    async with pool.acquire() as conn, conn.transaction():
        await addresses.lock(conn, caller.user_id)
        count = await addresses.count(conn, caller.user_id)
        if count >= ADDRESSES_MAX:
            raise TooManyAddresses(at_most=ADDRESSES_MAX)
        if is_default:
            await addresses.clear_default(conn, caller.user_id)
        return await addresses.add(
            conn,
            caller.user_id,
            label=place.label,
            latitude=place.latitude,
            longitude=place.longitude,
            is_default=is_default or count == 0,
        )


async def remove(pool: Pool, caller: Identity, address_id: UUID) -> Address:
    """Remove an address of the caller; return it. Raises NotFound.

    If it was the default one, the newest of the others becomes the default.
    """
    async with pool.acquire() as conn, conn.transaction():
        await addresses.lock(conn, caller.user_id)
        removed = await addresses.remove(conn, caller.user_id, address_id)
        if removed is None:
            raise NotFound(what="address")
        if removed.is_default:
            await addresses.promote_newest(conn, caller.user_id)
    return removed
