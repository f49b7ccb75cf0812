"""Where the broker is, who the hub is there, and how one gets in."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import aiomqtt

from core.settings import MqttSettings
from core.tls import trusting

_CONNECT_S = 5


def _answers_a_call(record: logging.LogRecord) -> bool:
    """Return False for the answer to a call that was cancelled, which aiomqtt logs as an error."""
    return not str(record.msg).startswith("Unexpected message ID")


_client_log = logging.getLogger("solarhub.mqtt")
_client_log.addFilter(_answers_a_call)


@dataclass(frozen=True, slots=True)
class BrokerEndpoint:
    host: str
    port: int
    username: str | None
    password: str | None
    tls: ssl.SSLContext | None

    @classmethod
    def of(cls, settings: MqttSettings) -> "BrokerEndpoint":
        """Raises SettingError when the certificates to trust can't be read."""
        url = urlsplit(settings.mqtt_url)
        secure = url.scheme == "mqtts"
        return cls(
            host=url.hostname or "127.0.0.1",
            port=url.port or (8883 if secure else 1883),
            username=unquote(url.username) if url.username else None,
            password=unquote(url.password) if url.password else None,
            tls=trusting(settings.mqtt_ca_file) if secure else None,
        )

    def client(self, identifier: str, *, clean_session: bool, **options: Any) -> aiomqtt.Client:
        return aiomqtt.Client(
            hostname=self.host,
            port=self.port,
            username=self.username,
            password=self.password,
            tls_context=self.tls,
            identifier=identifier,
            clean_session=clean_session,
            timeout=_CONNECT_S,
            logger=_client_log,
            **options,
        )


@asynccontextmanager
async def connection(client: aiomqtt.Client) -> AsyncIterator[aiomqtt.Client]:
    """The client, while it is connected. Raises aiomqtt.MqttError."""
    task = asyncio.current_task()
    assert task is not None
    # Not always 0: a TaskGroup that failed while it waited leaves one behind (before Python 3.13).
    cancelled_before = task.cancelling()
    async with client:
        # It waits by wait_for, which before Python 3.12 swallows a cancellation that meets the
        # answer: its task would never end.
        if task.cancelling() > cancelled_before:
            raise asyncio.CancelledError
        yield client
