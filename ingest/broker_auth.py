"""Who may do what at the embedded broker: a plugin for amqtt.

A device signs in with its id and password, and may publish and read what its dialect's topics are
(`core.dialects`). The hub's own user may do everything. Every sign-in asks the database; what it
said then is kept with the session. When devices change, whoever may no longer be there is put out.
"""

import asyncio
import hmac
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import structlog
from amqtt.broker import Broker
from amqtt.contexts import Action, BrokerConfig
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin
from amqtt.session import Session

from core.device_passwords import hash_of
from core.dialects import Dialect, Topics, topics_of
from core.topic_filters import covers
from db import device_credentials
from db.device_credentials import DeviceAccess
from db.errors import DATABASE_ERRORS, UNAVAILABLE, mind_cancellation
from db.pool import Connection, Pool

HUB_USER = "hub"

# Where a session keeps who proved to be its owner: the broker lets whoever connects under the same
# client id change its user name before it asks us.
_OWNER = "solarhub.owner"
_NOTHING = Topics("", "", "", "", publish=(), read=())
_POLL_S = 5.0
_RETRY_S = 0.5

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Owner:
    """`access`: what a device signed in with; None: the hub itself, who may do everything."""

    username: str
    access: DeviceAccess | None = None
    topics: Topics | None = None

    @classmethod
    def of(cls, access: DeviceAccess) -> "Owner":
        topics = topics_of(access.id, Dialect(access.dialect), access.external_id)
        return cls(str(access.id), access, topics)

    @property
    def speaks_a_firmware(self) -> bool:
        return self.access is not None and self.access.dialect != Dialect.NATIVE

    def may(self, action: Action, topic: str) -> bool:
        """Whether it may do that with that topic, or topic filter."""
        if self.topics is None:
            return True
        filters = self.topics.publish if action is Action.PUBLISH else self.topics.read
        return any(covers(allowed, topic) for allowed in filters)

    def barred(self) -> "Owner":
        """The same, who may do nothing any more; the session stays its own."""
        return replace(self, topics=_NOTHING)


class _Steady(dict[str, Any]):
    """May change while somebody goes through it: they see what was there when they began."""

    def __iter__(self) -> Iterator[str]:
        return iter([*super().__iter__()])

    def items(self) -> Any:
        return [*super().items()]


class DeviceBroker(Broker):
    """amqtt's broker, with two of its faults mended.

    It waits while it goes through all subscriptions, and fails when somebody subscribes meanwhile;
    and it tells whoever connects what is retained for the subscriptions of others.
    """

    def __init__(self, config: BrokerConfig) -> None:
        super().__init__(config)
        self._subscriptions: dict[str, Any] = _Steady()
        self._retained_messages: dict[str, Any] = _Steady()

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        subscribers = self._subscriptions.get(subscription[0], ())
        if any(subscriber.client_id == session.client_id for subscriber, _ in subscribers):
            await super()._publish_retained_messages_for_subscription(subscription, session)


class DeviceAccessPlugin(BaseAuthPlugin, BaseTopicPlugin):
    """Authentication and topic control in one, as the broker's two kinds of plugin."""

    @dataclass
    class Config:
        pool: Pool
        hub_password: str

    config: Config

    async def authenticate(self, *, session: Session) -> bool:
        username, password = session.username or "", session.password or ""
        before = session.attributes.get(_OWNER)
        stranger = before is not None and before.username != username
        owner = None if stranger else await self._owner(username, password)
        if owner is None:
            _log.warning("mqtt_refused", username=username, client_id=session.client_id)
            return False
        if session.will_flag and not owner.may(Action.PUBLISH, session.will_topic or ""):
            _log.warning("mqtt_will_refused", username=username, topic=session.will_topic)
            if not owner.speaks_a_firmware:
                return False
            # Some firmwares have a will that can't be set up: they come without it.
            session.will_flag = False
        session.attributes[_OWNER] = owner
        return True

    async def _owner(self, username: str, password: str) -> Owner | None:
        """Who proves to be that user; None: nobody."""
        if username == HUB_USER:
            proven = hmac.compare_digest(password.encode(), self.config.hub_password.encode())
            return Owner(username) if proven else None
        try:
            device_id = UUID(username)
            found = await device_credentials.access_of(self.config.pool, [device_id])
        except ValueError:
            return None
        except (*UNAVAILABLE, *DATABASE_ERRORS) as error:
            _log.warning("mqtt_sign_in_undecided", error=str(error))
            return None
        access = found.get(device_id)
        if access is None or not hmac.compare_digest(hash_of(password), access.credential_hash):
            return None
        return Owner.of(access)

    async def topic_filtering(
        self,
        *,
        session: Session | None = None,
        topic: str | None = None,
        action: Action | None = None,
    ) -> bool:
        if session is None or topic is None or action is None:
            return False
        owner = session.attributes.get(_OWNER)
        return owner is not None and owner.may(action, topic)


async def cut_off(broker: Broker, pool: Pool) -> None:
    """Until cancelled, put out whoever signed in as what is no longer so."""
    while True:
        try:
            async with pool.acquire() as conn, device_credentials.changes(conn) as changes:
                while True:
                    changes.take()
                    await _put_out(broker, await _outdated(broker, conn))
                    await changes.wait(_POLL_S)
        except (*UNAVAILABLE, *DATABASE_ERRORS) as error:
            mind_cancellation(error)
            _log.warning("mqtt_guard_lost_database", error=str(error))
        await asyncio.sleep(_RETRY_S)


async def _outdated(broker: Broker, conn: Connection) -> list[str]:
    """The client ids of sessions whose owner may not sign in like that any more."""
    owners = {
        client_id: owner
        for client_id, (session, _) in broker.sessions.items()
        if (owner := session.attributes.get(_OWNER)) is not None and owner.access is not None
    }
    found = await device_credentials.access_of(conn, [o.access.id for o in owners.values()])
    return [c for c, owner in owners.items() if found.get(owner.access.id) != owner.access]


async def _put_out(broker: Broker, client_ids: Sequence[str]) -> None:
    """Bar these sessions and hang up, without their last wills."""
    for client_id in client_ids:
        session, handler = broker.sessions.get(client_id, (None, None))
        if session is None:
            continue
        session.attributes[_OWNER] = session.attributes[_OWNER].barred()
        if session.transitions.is_connected():
            _log.info("mqtt_put_out", username=session.username, client_id=client_id)
            session.will_flag = False
            await handler.handle_connection_closed()
