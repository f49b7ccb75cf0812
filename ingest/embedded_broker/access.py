"""Authentication of MQTT clients, and the topics that each user may publish in and read."""

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
    """The database is unavailable, so a client can be neither authenticated nor refused."""


@dataclass(frozen=True, slots=True)
class BrokerUser:
    """An authenticated device with its credentials and topics, or the hub itself.

    The hub has no `access` and may use every topic. `username` of a device is its id in the
    canonical spelling, whatever spelling the client sent.
    """

    username: str
    access: DeviceAccess | None = None
    topics: Topics | None = None

    @property
    def is_hub(self) -> bool:
        return self.access is None

    @property
    def uses_firmware(self) -> bool:
        return self.access is not None and self.access.dialect != Dialect.NATIVE

    def may_publish(self, topic: str) -> bool:
        return self.topics is None or _is_covered(topic, self.topics.publish)

    def may_read(self, topic_filter: str) -> bool:
        return self.topics is None or _is_covered(topic_filter, self.topics.read)


class Access:
    """Authenticates clients against the database. The result is valid until access changes."""

    def __init__(self, pool: Pool, hub_password: str) -> None:
        self._pool = pool
        self._hub_password = hub_password.encode()

    async def sign_in(self, username: str, password: str) -> BrokerUser | None:
        """Return the user, or None for wrong credentials. Raises AccessUndecidedError."""
        if username == HUB_USER:
            proven = hmac.compare_digest(password.encode(), self._hub_password)
            return BrokerUser(username) if proven else None
        try:
            device_id = DeviceId(UUID(username))
        except ValueError:
            return None
        try:
            async with self._pool.acquire() as conn:
                found = await device_credentials.access_of(conn, [device_id])
        except database_errors() as error:
            raise AccessUndecidedError(str(error)) from error
        access = found.get(device_id)
        if access is None or not hmac.compare_digest(hash_of(password), access.credential_hash):
            return None
        return _user_of(access)


async def current(conn: Connection, usernames: Collection[str]) -> dict[str, BrokerUser]:
    """Return those of these devices that may still sign in, with their present access, by name."""
    found = await device_credentials.access_of(
        conn, [DeviceId(UUID(username)) for username in usernames]
    )
    users = [user for access in found.values() if (user := _user_of(access)) is not None]
    return {user.username: user for user in users}


def _user_of(access: DeviceAccess) -> BrokerUser | None:
    """Return the user of a device, or None if only a newer hub knows its dialect."""
    if access.dialect not in set(Dialect):
        return None
    topics = topics_of(access.id, Dialect(access.dialect), access.external_id)
    return BrokerUser(str(access.id), access, topics)


def _is_covered(asked: str, filters: tuple[str, ...]) -> bool:
    return any(covers(allowed, asked) for allowed in filters)
