"""The broker's address and the hub's credentials there."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from core.settings import MqttSettings, SettingError, variable
from ingest.mqtt.codec import encode_connect
from ingest.mqtt.connection import KEEP_ALIVE_S, MqttConnection, MqttError
from ingest.mqtt.receive_buffer import ReceiveBuffer

# From the first byte to the CONNACK, the TLS handshake included.
_CONNECT_S = 5.0


@dataclass(frozen=True, slots=True)
class BrokerEndpoint:
    host: str
    port: int
    username: str | None
    password: str | None = field(repr=False)
    tls: ssl.SSLContext | None

    @classmethod
    def of(cls, settings: MqttSettings) -> "BrokerEndpoint":
        """Read it from the settings. Raises SettingError for an unusable certificate file."""
        url = urlsplit(settings.mqtt_url)
        secure = url.scheme == "mqtts"
        return cls(
            host=url.hostname or "127.0.0.1",
            port=url.port or (8883 if secure else 1883),
            username=unquote(url.username) if url.username else None,
            password=unquote(url.password) if url.password else None,
            tls=client_context(settings.mqtt_ca_file) if secure else None,
        )

    @asynccontextmanager
    async def connect(
        self,
        client_id: str,
        *,
        clean_session: bool,
        buffer: ReceiveBuffer | None = None,
        keep_alive_s: int = KEEP_ALIVE_S,
    ) -> AsyncIterator[MqttConnection]:
        """Connect as this client. The broker ends an earlier connection of the same client id.

        Raises MqttError.
        """
        packet = encode_connect(
            client_id,
            clean_session=clean_session,
            keep_alive_s=keep_alive_s,
            username=self.username,
            password=self.password,
        )
        connection = MqttConnection(packet, buffer or ReceiveBuffer(), keep_alive_s)
        try:
            async with asyncio.timeout(_CONNECT_S):
                await self._open(connection)
        except TimeoutError:
            raise MqttError(f"{self} does not answer within {_CONNECT_S:g} s") from None
        except OSError as error:
            raise MqttError(f"{self} cannot be reached: {error}") from error
        try:
            yield connection
        finally:
            await connection.close()

    async def _open(self, connection: MqttConnection) -> None:
        await asyncio.get_running_loop().create_connection(
            lambda: connection, self.host, self.port, ssl=self.tls
        )
        try:
            await connection.wait_accepted()
        except BaseException:
            connection.abort()
            raise

    def __str__(self) -> str:
        return f"the broker at {self.host}:{self.port}"


def client_context(ca_file: str | None) -> ssl.SSLContext:
    """Return a context that trusts the certificates in a file, by default those of the system.

    Raises SettingError for an unusable file.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        reason = "no certificate in it" if isinstance(error, ssl.SSLError) else error.strerror
        raise SettingError(f"{variable('mqtt_ca_file')}: can't be used: {reason}") from None
