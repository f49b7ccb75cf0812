"""Who may do what at the embedded broker: a plugin for amqtt.

A device signs in with its id and password and has four topics: it publishes its `telemetry` and
`status`, and reads its `ack` and `command`. The hub's own user may do everything. Every sign-in
asks the database, so that a deleted device is refused the next time.
"""

import hashlib
import hmac
from dataclasses import dataclass
from uuid import UUID

import structlog
from amqtt.contexts import Action
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin
from amqtt.session import Session

from db.device_credentials import credential_hash
from db.errors import DATABASE_ERRORS, UNAVAILABLE
from db.pool import Pool

HUB_USER = "hub"

# Where a session keeps who proved to be its owner: the broker lets whoever connects under the same
# client id change its user name before it asks us.
_OWNER = "solarhub.owner"

_MAY = {
    Action.PUBLISH: frozenset({"telemetry", "status"}),
    Action.SUBSCRIBE: frozenset({"ack", "command"}),
    Action.RECEIVE: frozenset({"ack", "command"}),
}

_log = structlog.get_logger()


def allowed(username: str, action: Action, topic: str) -> bool:
    """Whether that user may do that with that topic, or topic filter."""
    if username == HUB_USER:
        return True
    prefix, _, rest = topic.partition("/")
    owner, _, leaf = rest.partition("/")
    return prefix == "solar" and owner == username and leaf in _MAY[action]


class DeviceAccess(BaseAuthPlugin, BaseTopicPlugin):
    """Authentication and topic control in one, as the broker's two kinds of plugin."""

    @dataclass
    class Config:
        pool: Pool
        hub_password: str

    config: Config

    async def authenticate(self, *, session: Session) -> bool:
        username, password = session.username or "", session.password or ""
        owner = session.attributes.get(_OWNER, username)
        if owner != username or not await self._proves(username, password):
            _log.warning("mqtt_refused", username=username, client_id=session.client_id)
            return False
        if session.will_flag and not allowed(username, Action.PUBLISH, session.will_topic or ""):
            _log.warning("mqtt_will_refused", username=username, topic=session.will_topic)
            return False
        session.attributes[_OWNER] = username
        return True

    async def _proves(self, username: str, password: str) -> bool:
        if username == HUB_USER:
            return hmac.compare_digest(password.encode(), self.config.hub_password.encode())
        try:
            expected = await credential_hash(self.config.pool, UUID(username))
        except ValueError:
            return False
        except (*UNAVAILABLE, *DATABASE_ERRORS) as error:
            _log.warning("mqtt_sign_in_undecided", error=str(error))
            return False
        given = hashlib.sha256(password.encode()).digest()
        return expected is not None and hmac.compare_digest(given, expected)

    async def topic_filtering(
        self,
        *,
        session: Session | None = None,
        topic: str | None = None,
        action: Action | None = None,
    ) -> bool:
        if session is None or topic is None or action is None:
            return False
        return allowed(session.attributes.get(_OWNER, ""), action, topic)
