"""The two ways in which a fleet's devices publish: live at their own rate, or the past at once."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from random import Random

from simulators.device import Clock, SimulatedDevice
from simulators.device_connection import DeviceConnection, DeviceConnector
from simulators.dialects.native import MESSAGE_MAX_READINGS
from simulators.send_queue import FaultySendQueue, SendQueue

# Periods between readings vary by this part, so that a fleet does not publish in lockstep.
_JITTER = 0.2


class LivePublisher:
    """Measures a device periodically and publishes, until `duration_s` is over if it is given.

    Readings that cannot be sent wait, at most as many as fit into one message.
    """

    def __init__(
        self,
        device: SimulatedDevice,
        connector: DeviceConnector,
        *,
        rate_hz: float,
        duration_s: float | None,
        rng: Random,
        now: Clock,
        count_sent: Callable[[int], None],
    ) -> None:
        self._device = device
        self._connector = connector
        self._period_s = 1 / rate_hz
        self._duration_s = duration_s
        self._rng = rng
        self._now = now
        self._count_sent = count_sent
        self._queue = FaultySendQueue(SendQueue(waiting_max=MESSAGE_MAX_READINGS))
        self._measured = asyncio.Event()
        self._done = False

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._measure())
            credentials = self._device.registered.device.credentials
            tasks.create_task(self._connector.run(credentials, self._publish))

    async def _measure(self) -> None:
        try:
            async with asyncio.timeout(self._duration_s):
                await asyncio.sleep(self._rng.uniform(0, self._period_s))
                while True:
                    self._queue.add(self._device.measure(self._now()))
                    self._measured.set()
                    jitter = self._rng.uniform(1 - _JITTER, 1 + _JITTER)
                    await asyncio.sleep(self._period_s * jitter)
        except TimeoutError:
            self._queue.add(self._device.measure_last(self._now()))
            self._done = True
            self._measured.set()

    async def _publish(self, connection: DeviceConnection) -> None:
        self._queue.reconnected()
        while True:
            while self._queue:
                self._count_sent(await self._queue.send(connection, MESSAGE_MAX_READINGS))
            if self._done:
                return
            self._measured.clear()
            await self._measured.wait()


class BackfillPublisher:
    """Measures a device at past times and publishes as fast as the broker acknowledges.

    The last reading is taken at `ends`, when all faults are over.
    """

    def __init__(
        self,
        device: SimulatedDevice,
        times: Iterator[datetime],
        ends: datetime,
        batch: int,
        count_sent: Callable[[int], None],
    ) -> None:
        self.device = device
        self._times = times
        self._ends = ends
        self._batch = batch
        self._count_sent = count_sent
        # Nothing is retained: each reconnection would send all of the past again.
        self._queue = FaultySendQueue(SendQueue(retained_s=0))
        self._done = False

    async def publish(self, connection: DeviceConnection) -> None:
        while self._measure():
            self._count_sent(await self._queue.send(connection, self._batch))

    def _measure(self) -> bool:
        """Measure until a message is full. Return whether anything is left to send."""
        while len(self._queue) < self._batch and not self._done:
            at = next(self._times, None)
            if at is None:
                self._queue.add(self.device.measure_last(self._ends))
                self._done = True
            else:
                self._queue.add(self.device.measure(at))
        return len(self._queue) > 0


def measurement_times(
    begins: datetime, ends: datetime, period_s: float, rng: Random
) -> Iterator[datetime]:
    """Yield the times of measurements from `begins` (inclusive) to `ends` (exclusive)."""
    at = begins + timedelta(seconds=rng.uniform(0, period_s))
    while at < ends:
        yield at
        at += timedelta(seconds=period_s * rng.uniform(1 - _JITTER, 1 + _JITTER))
