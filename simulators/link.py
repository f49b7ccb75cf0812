"""A device's connection to the broker: its credentials, its last will, reconnect with backoff."""

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
from core.readings import Reading
from core.tls import trusting
from simulators.dialects.encoder import EncodedPublish, FirmwareEncoder
from simulators.dialects.encoders import VOICES
from simulators.hub_addresses import BrokerAddress
from simulators.native import encode

_QOS = 1
_CONNECT_S = 4.0
_TAKEN_S = 30.0
_GOODBYE_S = 2.0
_RECONNECT_FIRST_S = 0.5
_RECONNECT_MAX_S = 30.0
_KEEPALIVE_S = 60
_ANSWERS_FOR_S = 60.0


@dataclass(frozen=True, slots=True)
class Credentials:
    """What registering a device gave it: its id, which is its user name, and a password."""

    device_id: str
    password: str
    dialect: Dialect = Dialect.NATIVE
    external_id: str | None = None

    @property
    def voice(self) -> FirmwareEncoder:
        return VOICES[self.dialect]

    @property
    def name(self) -> str:
        """What it calls itself in its topics."""
        return self.external_id or self.device_id


class _Asked:
    """When a device was asked to speak: the answer is due for a while."""

    def __init__(self) -> None:
        self._until_s = -inf
        self._asked = asyncio.Event()

    def again(self) -> None:
        self._until_s = asyncio.get_running_loop().time() + _ANSWERS_FOR_S
        self._asked.set()

    async def lately(self) -> None:
        while self._until_s < asyncio.get_running_loop().time():
            self._asked.clear()
            await self._asked.wait()


@dataclass(frozen=True, slots=True)
class Line:
    """An open connection, as a device uses it."""

    client: aiomqtt.Client
    device: Credentials
    asked: _Asked = field(default_factory=_Asked)

    async def arrive(self) -> None:
        """Say that it is there, and listen, if it speaks only when it is asked to."""
        voice = self.device.voice
        if voice.asked_on is not None:
            await self.client.subscribe(voice.asked_on.format(self.device.name), qos=_QOS)
        await self._say(voice.arrive(self.device.name))

    async def leave(self) -> None:
        will = self.device.voice.will(self.device.name)
        await self._say([will] if will else [])

    async def send(self, readings: Sequence[Reading]) -> None:
        """Publish and wait for the broker to have it. Raises aiomqtt.MqttError."""
        voice = self.device.voice
        if voice.asked_on is not None:
            await self.asked.lately()
        if self.device.dialect == Dialect.NATIVE:
            topic = f"solar/{self.device.device_id}/telemetry"
            await self._say([EncodedPublish(topic, encode(readings))])
            return
        for reading in readings if voice.has_clock else readings[-1:]:
            await self._say(voice.say(self.device.name, reading))

    async def cut(self) -> NoReturn:
        """Lose the connection, as a device that is unplugged. Raises aiomqtt.MqttError."""
        # aiomqtt has no such thing, but what it wraps hands out its socket.
        wire = self.client._client.socket()
        if isinstance(wire, socket.socket):
            with suppress(OSError):
                wire.shutdown(socket.SHUT_RDWR)
        await asyncio.sleep(_TAKEN_S)  # whoever listens on the line hears that it is lost
        raise aiomqtt.MqttError("the line was cut")

    async def _say(self, publications: Iterable[EncodedPublish]) -> None:
        for said in publications:
            await self._publish(said)

    async def _publish(self, said: EncodedPublish) -> None:
        try:
            # aiomqtt's own timeout is a wait_for, which swallows a cancellation that meets the
            # result (before Python 3.12): with thousands of devices some would never stop.
            async with asyncio.timeout(_TAKEN_S):
                await self.client.publish(
                    said.topic, said.payload, qos=_QOS, retain=said.retain, timeout=inf
                )
        except TimeoutError:
            raise aiomqtt.MqttError(f"not acknowledged within {_TAKEN_S:g} s") from None


Speech = Callable[[Line], Awaitable[None]]


@dataclass(slots=True)
class LinkTally:
    """What the links that share it have been through."""

    connected: int = 0
    lost: int = 0
    last_error: str = ""


class Links:
    """Opens the connections of many devices to one broker, a few at a time."""

    def __init__(
        self, broker: BrokerAddress, chance: Random, tally: LinkTally, *, connects_at_once: int = 32
    ) -> None:
        self._broker = broker
        self._chance = chance
        self._tally = tally
        self._gate = asyncio.Semaphore(connects_at_once)
        self._silent = logging.Logger("mqtt", logging.CRITICAL)  # the tally says what is lost
        self._tls = trusting(broker.ca_file) if broker.secure else None

    async def run(self, device: Credentials, speak: Speech, *, says_goodbye: bool = True) -> None:
        """Keep a line open for `speak` until it returns; call it again on each new connection.

        Ends with `offline` told, unless `says_goodbye` is off, and a clean disconnect.
        """
        wait_s = _RECONNECT_FIRST_S
        while True:
            try:
                async with self._line(device, says_goodbye) as line:
                    wait_s = _RECONNECT_FIRST_S
                    await _converse(line, speak)
                    return
            except aiomqtt.MqttError as error:
                self._tally.lost += 1
                self._tally.last_error = str(error)
            await asyncio.sleep(wait_s * self._chance.uniform(0.5, 1))
            wait_s = min(2 * wait_s, _RECONNECT_MAX_S)

    @asynccontextmanager
    async def _line(self, device: Credentials, says_goodbye: bool) -> AsyncIterator[Line]:
        client = self._client(device)
        line = Line(client, device)
        async with self._gate:
            await _connect(client)
        self._tally.connected += 1
        try:
            await line.arrive()
            yield line
        finally:
            self._tally.connected -= 1
            await _hang_up(line, says_goodbye)

    def _client(self, device: Credentials) -> aiomqtt.Client:
        last = device.voice.will(device.name)
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
            timeout=_CONNECT_S,
            keepalive=_KEEPALIVE_S,
        )


async def _converse(line: Line, speak: Speech) -> None:
    """Speak until done. Raises aiomqtt.MqttError at once when the connection is lost."""
    lost: aiomqtt.MqttError | None = None
    try:
        async with asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(_listen(line))
            await speak(line)
            listening.cancel()
    except* aiomqtt.MqttError as errors:
        lost = next(error for error in errors.exceptions if isinstance(error, aiomqtt.MqttError))
    if lost is not None:
        raise lost


async def _listen(line: Line) -> None:
    """Only to be asked to speak; the iterator raises when the connection is lost."""
    async for _ in line.client.messages:
        line.asked.again()


async def _connect(client: aiomqtt.Client) -> None:
    """Connect; when cancelled meanwhile, undo it: aiomqtt would leave the socket open."""
    connecting = asyncio.ensure_future(client.__aenter__())
    try:
        await asyncio.shield(connecting)
    except asyncio.CancelledError:
        with suppress(aiomqtt.MqttError):
            await connecting
            await client.__aexit__(None, None, None)
        raise


async def _hang_up(line: Line, says_goodbye: bool) -> None:
    """Say `offline` and disconnect, both in vain on a connection that is lost."""
    with suppress(aiomqtt.MqttError, TimeoutError):
        async with asyncio.timeout(_GOODBYE_S):
            if says_goodbye:
                await line.leave()
    with suppress(aiomqtt.MqttError):
        await line.client.__aexit__(None, None, None)
