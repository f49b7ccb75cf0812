"""Devices in lanes: batches of one lane are written in turn, those of several lanes side by side.

So one batch is decided on while PostgreSQL writes another, and a batch holds more readings of fewer
devices. All that a device says takes one lane, and is written in the order in which it came.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence

from ingest.batcher import Batcher
from ingest.messages import IngestMessage

LANES = 2


class Partitions:
    """A batcher for each lane, whose limits these are; and who is yet to be acknowledged."""

    def __init__(self, *, weight_max: int, age_max_s: float, held_max: int) -> None:
        self.batchers: tuple[Batcher[IngestMessage], ...] = tuple(
            Batcher(weight_max=weight_max, age_max_s=age_max_s, held_max=held_max)
            for _ in range(LANES)
        )
        self._is_committed: OrderedDict[Callable[[], None], bool] = OrderedDict()

    async def put(self, message: IngestMessage) -> None:
        """Waits while the lane of the message is full."""
        speaker = message.device_id if message.addressed is None else message.addressed.name
        await self.batchers[hash(speaker) % LANES].put(message)
        # Not before: whoever waits may be cancelled, and all that came later would wait for it.
        self._is_committed[message.acknowledge] = False

    def acknowledge(self, committed: Sequence[IngestMessage]) -> None:
        """Acknowledge what is committed and, of all that came before it, so is everything.

        In the order in which it came: MQTT wants that (3.1.1, 4.6), and Mosquitto looks through all
        that it has sent for what is acknowledged, the oldest first.
        """
        waiting = self._is_committed
        for message in committed:
            if message.acknowledge in waiting:
                waiting[message.acknowledge] = True
        while waiting and waiting[first := next(iter(waiting))]:
            del waiting[first]
            first()
