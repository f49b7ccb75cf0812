"""An inbox that keeps the messages of one share, and acknowledges all others unread.

The broker queues each message in the session of every share, so the others' are safe without us.
They are acknowledged when their turn comes: MQTT wants the order of arrival (3.1.1, 4.6), and
Mosquitto looks for each in a list of all that it has sent ahead.
"""

import asyncio
from collections import deque
from datetime import datetime
from functools import lru_cache

import aiomqtt

from ingest.packets import address, is_publication
from ingest.receive_buffer import HELD_MAX_BYTES, ReceiveBuffer
from ingest.shares import Share

# Devices speak again and again under the same topics; what is remembered must be short.
_TOPICS_REMEMBERED = 16_384
_TOPIC_MAX_BYTES = 128


class ShareInbox(ReceiveBuffer):
    def __init__(
        self, client: aiomqtt.Client, share: Share, held_max_bytes: int = HELD_MAX_BYTES
    ) -> None:
        super().__init__(client, held_max_bytes)
        self._share = share
        self._holds = lru_cache(_TOPICS_REMEMBERED)(share.holds)
        self._kept = self._kept_acknowledged = 0
        # Others' messages that wait for ours: how many of ours came before each, and its id. They
        # are no more than the broker sends ahead.
        self._others: deque[tuple[int, int]] = deque()
        self._is_finishing = False
        self._finished = asyncio.Event()

    async def finish(self) -> None:
        """Take nothing more, and wait until all that was taken is acknowledged."""
        self._is_finishing = True
        if not self.is_idle:
            await self._finished.wait()

    def _take(self, packet: bytes, received_at: datetime) -> None:
        if is_publication(packet):
            if self._is_finishing:
                return  # it comes again, to whoever reads the session next
            topic, message_id = address(packet)
            holds = self._holds if len(topic) <= _TOPIC_MAX_BYTES else self._share.holds
            if not holds(topic):
                self._pass_over(message_id)
                return
            self._kept += 1
        super()._take(packet, received_at)

    def _pass_over(self, message_id: int) -> None:
        if message_id:
            self._others.append((self._kept, message_id))
            if not self._is_settling_due:
                self._is_settling_due = True
                self._loop.call_soon(self._settle)

    def acknowledge(self, message_id: int, qos: int, size_bytes: int) -> None:
        self._acknowledge_others()
        self._kept_acknowledged += 1
        super().acknowledge(message_id, qos, size_bytes)

    def _settle(self) -> None:
        self._acknowledge_others()
        super()._settle()
        if self._is_finishing and self.is_idle:
            self._finished.set()

    def _acknowledge_others(self) -> None:
        """Those that came before the next of ours that is yet to be acknowledged."""
        others, acknowledged = self._others, self._kept_acknowledged
        while others and others[0][0] <= acknowledged:
            self._acknowledged.append(others.popleft()[1])
