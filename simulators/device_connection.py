"""A device's MQTT connection: credentials, last will, acknowledged messages, reconnection."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from math import inf
from random import Random
from typing import NoReturn

import aiomqtt

from core.dialects import Dialect
from core.exceptions import root_cause
from core.readings import Reading
from core.retry import Backoff
from simulators.dialects import native
from simulators.dialects.encoder import EncodedPublish, FirmwareEncoder
from simulators.dialects.encoders import ENCODERS
from simulators.hub_client import BrokerAddress

_QOS = 1
_CONNECT_WITHIN_S = 4.0
_ACKNOWLEDGED_WITHIN_S = 30.0
_DISCONNECT_WITHIN_S = 2.0
_RECONNECT_FIRST_S = 0.5
_RECONNECT_MAX_S = 30.0
_KEEPALIVE_S = 60
# A device that publishes on request only does so for this long after the last request.
_REQUEST_VALID_S = 60.0


@dataclass(frozen=True, slots=True)
class Credentials:
    """The MQTT credentials of a registered device: its id is the user name."""

    device_id: str
    password: str
    dialect: Dialect = Dialect.NATIVE
    external_id: str | None = None

    @property
    def encoder(self) -> FirmwareEncoder:
        return ENCODERS[self.dialect]

    @property
    def name(self) -> str:
        """Return the name that the device has in its topics."""
        return self.external_id or self.device_id


class _Requests:
    """Requests to publish that a device received; the last one is valid for a while."""

    def __init__(self) -> None:
        self._valid_until_s = -inf
        self._received = asyncio.Event()

    def receive(self) -> None:
        self._valid_until_s = asyncio.get_running_loop().time() + _REQUEST_VALID_S
        self._received.set()

    async def wait_valid(self) -> None:
        while self._valid_until_s < asyncio.get_running_loop().time():
            self._received.clear()
            await self._received.wait()


@dataclass(frozen=True, slots=True)
class DeviceConnection:
    """An open connection of one device."""

    client: aiomqtt.Client
    device: Credentials
    requests: _Requests = field(default_factory=_Requests)

    async def announce(self) -> None:
        """Subscribe to requests if the firmware needs them, and publish that it is online."""
        encoder = self.device.encoder
        if encoder.keepalive_topic is not None:
            await self.client.subscribe(encoder.keepalive_topic.format(self.device.name), qos=_QOS)
        await self._publish(encoder.on_connect(self.device.name))

    async def announce_offline(self) -> None:
        will = self.device.encoder.will(self.device.name)
        await self._publish([will] if will else [])

    async def send(self, readings: Sequence[Reading]) -> None:
        """Publish, and return once the broker has acknowledged. Raises aiomqtt.MqttError."""
        encoder = self.device.encoder
        if encoder.keepalive_topic is not None:
            await self.requests.wait_valid()
        if self.device.dialect == Dialect.NATIVE:
            await self._publish([native.telemetry(self.device.device_id, readings)])
            return
        for reading in readings if encoder.has_clock else readings[-1:]:
            await self._publish(encoder.encode(self.device.name, reading))

    async def cut(self) -> NoReturn:
        """Lose the connection as an unplugged device does. Raises aiomqtt.MqttError."""
        # aiomqtt has no method for that; paho, which it wraps, returns its socket.
        connection = self.client._client.socket()
        if isinstance(connection, socket.socket):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        # `_receive_requests` notices the loss and cancels this wait.
        await asyncio.sleep(_ACKNOWLEDGED_WITHIN_S)
        raise aiomqtt.MqttError("the connection was cut")

    async def _publish(self, messages: Iterable[EncodedPublish]) -> None:
        for message in messages:
            await self._publish_one(message)

    async def _publish_one(self, message: EncodedPublish) -> None:
        try:
            # aiomqtt's own timeout is a wait_for, which swallows a cancellation that meets the
            # result (before Python 3.12): with thousands of devices some would never stop.
            async with asyncio.timeout(_ACKNOWLEDGED_WITHIN_S):
                await self.client.publish(
                    message.topic, message.payload, qos=_QOS, retain=message.retain, timeout=inf
                )
        except TimeoutError:
            raise aiomqtt.MqttError(
                f"not acknowledged within {_ACKNOWLEDGED_WITHIN_S:g} s"
            ) from None


# Publishes on an open connection until it has nothing more to send.
Publisher = Callable[[DeviceConnection], Awaitable[None]]


@dataclass(slots=True)
class ConnectionTally:
    """Counts of the connections that share it."""

    connected: int = 0
    lost: int = 0
    last_error: str = ""


class DeviceConnector:
    """Keeps many devices connected to one broker; opens a few connections at a time."""

    def __init__(
        self,
        broker: BrokerAddress,
        rng: Random,
        tally: ConnectionTally,
        *,
        connects_at_once: int = 32,
    ) -> None:
        self._broker = broker
        self._rng = rng
        self._tally = tally
        self._connecting = asyncio.Semaphore(connects_at_once)
        # The tally counts lost connections: paho's log would repeat each of them.
        self._silent = logging.Logger("mqtt", logging.CRITICAL)
        self._tls = broker.tls_context()

    async def run(
        self, device: Credentials, publish: Publisher, *, announce_offline: bool = True
    ) -> None:
        """Call `publish` with an open connection, again with each new one, until it returns.

        Then disconnect cleanly, after an offline message unless `announce_offline` is False.
        """
        backoff = Backoff(
            _RECONNECT_FIRST_S, _RECONNECT_MAX_S, jitter=lambda: self._rng.uniform(0.5, 1)
        )
        while True:
            try:
                async with self._connected(device, announce_offline) as connection:
                    backoff.reset()
                    await _publish_until_lost(connection, publish)
                    return
            except aiomqtt.MqttError as error:
                self._tally.lost += 1
                self._tally.last_error = str(error)
            await asyncio.sleep(backoff.next_s())

    @asynccontextmanager
    async def _connected(
        self, device: Credentials, announce_offline: bool
    ) -> AsyncIterator[DeviceConnection]:
        client = self._client(device)
        connection = DeviceConnection(client, device)
        async with self._connecting:
            await _connect(client)
        self._tally.connected += 1
        try:
            await connection.announce()
            yield connection
        finally:
            self._tally.connected -= 1
            await _disconnect(connection, announce_offline)

    def _client(self, device: Credentials) -> aiomqtt.Client:
        last = device.encoder.will(device.name)
        will = aiomqtt.Will(last.topic, last.payload, _QOS, retain=last.retain) if last else None
        return aiomqtt.Client(
            hostname=self._broker.host,
            port=self._broker.port,
            tls_context=self._tls,
            logger=self._silent,
            username=device.device_id,
            password=device.password,
            identifier=f"device-{device.device_id}",
            will=will,
            timeout=_CONNECT_WITHIN_S,
            keepalive=_KEEPALIVE_S,
        )


async def _publish_until_lost(connection: DeviceConnection, publish: Publisher) -> None:
    """Publish until done. Raises aiomqtt.MqttError as soon as the connection is lost."""
    lost: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as tasks:
            receiving = tasks.create_task(_receive_requests(connection))
            await publish(connection)
            receiving.cancel()
    except* aiomqtt.MqttError as errors:
        lost = root_cause(errors)
    if lost is not None:
        raise lost


async def _receive_requests(connection: DeviceConnection) -> None:
    """Receive requests to publish; the iterator raises when the connection is lost."""
    async for _ in connection.client.messages:
        connection.requests.receive()


async def _connect(client: aiomqtt.Client) -> None:
    """Connect. If cancelled meanwhile, finish and disconnect: aiomqtt would leak the socket."""
    connecting = asyncio.ensure_future(client.__aenter__())
    try:
        await asyncio.shield(connecting)
    except asyncio.CancelledError:
        with suppress(aiomqtt.MqttError):
            await connecting
            await client.__aexit__(None, None, None)
        raise


async def _disconnect(connection: DeviceConnection, announce_offline: bool) -> None:
    """Publish the offline message and disconnect; both fail silently if the connection is lost."""
    with suppress(aiomqtt.MqttError, TimeoutError):
        async with asyncio.timeout(_DISCONNECT_WITHIN_S):
            if announce_offline:
                await connection.announce_offline()
    with suppress(aiomqtt.MqttError):
        await connection.client.__aexit__(None, None, None)
