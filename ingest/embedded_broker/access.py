"""Who a client proves to be, and what it may publish and read then."""

import hmac
from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from core.device_passwords import hash_of
from core.dialects import Dialect, Topics, topics_of
from core.ids import DeviceId
from core.topic_filters import covers
from db import device_credentials
from db.device_credentials import DeviceAccess
from db.errors import database_errors
from db.pool import Connection, Pool

HUB_USER = "hub"


class AccessUndecidedError(Exception):
    """The database can't be asked who that is."""


@dataclass(frozen=True, slots=True)
class BrokerUser:
    """A device with what it signed in with; without `access` the hub itself, who may do everything.

    `username` is the device's id in its usual spelling, however the client spelt it.
    """

    username: str
    access: DeviceAccess | None = None
    topics: Topics | None = None

    @property
    def is_hub(self) -> bool:
        return self.access is None

    @property
    def speaks_a_firmware(self) -> bool:
        return self.access is not None and self.access.dialect != Dialect.NATIVE

    def may_publish(self, topic: str) -> bool:
        return self.topics is None or _is_covered(topic, self.topics.publish)

    def may_read(self, topic_filter: str) -> bool:
        return self.topics is None or _is_covered(topic_filter, self.topics.read)


class Access:
    """Asks the database at every sign-in; what it said then stays with the connection."""

    def __init__(self, pool: Pool, hub_password: str) -> None:
        self._pool = pool
        self._hub_password = hub_password.encode()

    async def sign_in(self, username: str, password: str) -> BrokerUser | None:
        """Who proves to be that user; None: nobody. Raises AccessUndecidedError."""
        if username == HUB_USER:
            proven = hmac.compare_digest(password.encode(), self._hub_password)
            return BrokerUser(username) if proven else None
        try:
            device_id = DeviceId(UUID(username))
        except ValueError:
            return None
        try:
            found = await device_credentials.access_of(self._pool, [device_id])
        except database_errors() as error:
            raise AccessUndecidedError(str(error)) from error
        access = found.get(device_id)
        if access is None or not hmac.compare_digest(hash_of(password), access.credential_hash):
            return None
        return _user_of(access)


async def current(conn: Connection, usernames: Collection[str]) -> dict[str, BrokerUser]:
    """Those of these devices that may still sign in, as they would now, by user name."""
    found = await device_credentials.access_of(
        conn, [DeviceId(UUID(username)) for username in usernames]
    )
    users = [user for access in found.values() if (user := _user_of(access)) is not None]
    return {user.username: user for user in users}


def _user_of(access: DeviceAccess) -> BrokerUser | None:
    """None where it speaks what a newer hub knows."""
    if access.dialect not in set(Dialect):
        return None
    topics = topics_of(access.id, Dialect(access.dialect), access.external_id)
    return BrokerUser(str(access.id), access, topics)


def _is_covered(asked: str, filters: tuple[str, ...]) -> bool:
    return any(covers(allowed, asked) for allowed in filters)
