"""What goes wrong with readings on their way: what a meter shows → what reaches the hub, and when.

Pure, as `faults` is. Readings are lost, sent twice, held back and sent late, or out of order; lines
are cut. None is invented, and what is not lost is sent at least once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from core.readings import Reading
from simulators.faults import CALM_READINGS, Deck, Fault, Hit

DELIVERY_FAULTS = {
    Fault.GAP: (31, 60),
    Fault.DUPLICATE: (1, 8),
    Fault.LATE: (5, 40),
    Fault.DISORDER: (4, 12),
}
_STORM_EVERY = (40, 160)


@dataclass(frozen=True, slots=True)
class Sending:
    """Readings to send now, in this order. `cut`: not before the line was cut."""

    readings: Sequence[Reading]
    cut: bool = False


class Storms:
    """With which of their readings all devices of a fleet lose their lines at once."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._next = chance.randint(*_STORM_EVERY)
        self._readings = 0

    def strikes(self) -> bool:
        """To be asked once for each reading."""
        self._readings += 1
        if self._readings < self._next:
            return False
        self._next += self._chance.randint(*_STORM_EVERY)
        return True


class FaultyWay:
    """One device's way to the hub, which knows some of the faults. `hits` tells what befell it."""

    def __init__(
        self,
        chance: Random,
        storms: Storms,
        *,
        faults: Sequence[Fault] = tuple(Fault),
        calm: int = CALM_READINGS,
    ) -> None:
        self._chance = chance
        self._storms = storms if Fault.RECONNECT in faults else None
        lasting = {fault: DELIVERY_FAULTS[fault] for fault in faults if fault in DELIVERY_FAULTS}
        self._deck = Deck(lasting, chance, calm)
        self._fault: Fault | None = None
        self._left = 0
        self._held: list[Reading] = []
        self._late: list[Reading] = []
        self._late_for = 0
        self.hits: list[Hit] = []

    def send(self, reading: Reading) -> list[Sending]:
        """What is sent when this reading was taken: it, others, or nothing."""
        assert reading.time is not None
        if not self._left:
            self._begin(self._deck.deal(reading.time))
        sendings = [Sending(sent) for sent in [*self._through(reading), *self._overdue()] if sent]
        if self._storms is not None and self._storms.strikes():
            self.hits.append(Hit(Fault.RECONNECT, reading.time, 1))
            sendings.insert(0, Sending((), cut=True))
        return sendings

    def rest(self) -> list[Sending]:
        """What is still held back."""
        rest, self._held, self._late = [self._held, self._late], [], []
        self._left, self._fault = 0, None
        return [Sending(held) for held in rest if held]

    def _begin(self, hit: Hit | None) -> None:
        self._fault = hit.fault if hit else None
        if hit is not None:
            self._left = hit.readings
            self.hits.append(hit)

    def _through(self, reading: Reading) -> list[list[Reading]]:
        fault, self._left = self._fault, max(0, self._left - 1)
        if fault is None:
            return [[reading]]
        if fault is Fault.GAP:
            return []
        if fault is Fault.DUPLICATE:
            return self._chance.choice([[[reading, reading]], [[reading], [reading]]])
        self._held.append(reading)
        return [] if self._left else self._released(fault)

    def _released(self, fault: Fault) -> list[list[Reading]]:
        held, self._held = self._held, []
        if fault is Fault.DISORDER:
            return [[reading] for reading in self._chance.sample(held, len(held))]
        # Late is what others overtake.
        self._late += held
        self._late_for = self._chance.randint(*DELIVERY_FAULTS[Fault.LATE])
        return []

    def _overdue(self) -> list[list[Reading]]:
        if not self._late or self._late_for:
            self._late_for = max(0, self._late_for - 1)
            return []
        late, self._late = self._late, []
        return [late]
