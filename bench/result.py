"""The result of a case: samples of contestants that took turns, ratios, targets."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from statistics import median
from typing import Any, TypeVar

from bench.machine import Facts, facts

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sample:
    """One contestant's turn in one round."""

    per_s: float
    # Latencies, if requests were sent one by one.
    p50_ms: float | None = None
    p99_ms: float | None = None
    # CPU time per item by process, of the processes on this machine.
    cpu_us: Mapping[str, float] = field(default_factory=dict)
    # The highest resident memory of the contestant, if it was observed.
    rss_mb: float | None = None


@dataclass(frozen=True, slots=True)
class Contestant:
    """A contestant: its name, what it does in a few words, and its samples by round."""

    name: str
    what: str
    samples: Sequence[Sample]

    @property
    def per_s(self) -> float:
        return median(s.per_s for s in self.samples)

    @property
    def slowest(self) -> float:
        return min(s.per_s for s in self.samples)

    @property
    def fastest(self) -> float:
        return max(s.per_s for s in self.samples)

    @property
    def p50_ms(self) -> float | None:
        return _median_of([s.p50_ms for s in self.samples if s.p50_ms is not None])

    @property
    def p99_ms(self) -> float | None:
        return _median_of([s.p99_ms for s in self.samples if s.p99_ms is not None])

    @property
    def cpu_us(self) -> dict[str, float]:
        names = dict.fromkeys(name for s in self.samples for name in s.cpu_us)
        return {n: median(s.cpu_us[n] for s in self.samples if n in s.cpu_us) for n in names}

    @property
    def rss_mb(self) -> float | None:
        return max((s.rss_mb for s in self.samples if s.rss_mb is not None), default=None)


def _median_of(values: Sequence[float]) -> float | None:
    return median(values) if values else None


def ratio(one: Contestant, other: Contestant) -> float:
    """Return the median over rounds of one's rate to the other's.

    Both turns of a round are close in time, so a slow minute affects both.
    """
    pairs = zip(one.samples, other.samples, strict=True)
    return median(mine.per_s / its.per_s for mine, its in pairs)


@dataclass(frozen=True, slots=True)
class Target:
    """A measured value `found` that should be at least `wanted`, or at most if `at_most`."""

    what: str
    wanted: float
    found: float
    at_most: bool = False

    @property
    def met(self) -> bool:
        return self.found <= self.wanted if self.at_most else self.found >= self.wanted


@dataclass(frozen=True, slots=True)
class Course:
    """A value of the hub over time, in seconds from the start."""

    seconds: Sequence[float]
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a case; the first contestant is the hub."""

    case: str
    what: str
    unit: str
    contestants: Sequence[Contestant]
    targets: Sequence[Target]
    audit_passed: bool
    parameters: dict[str, int | float | str]
    # One sentence per contestant that could not take part, with what it needs.
    absent: Sequence[str] = ()
    # Plotted instead of the contestants.
    course: Course | None = None
    machine: Facts = field(default_factory=facts)
    measured_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat("T", "seconds"))

    def ratios(self) -> Iterator[tuple[Contestant, float]]:
        hub, *others = self.contestants
        return ((other, ratio(hub, other)) for other in others)

    def as_json(self) -> dict[str, Any]:
        document = asdict(self)
        document["ratios"] = {other.name: round(value, 3) for other, value in self.ratios()}
        for target, shown in zip(self.targets, document["targets"], strict=True):
            shown["met"] = target.met
        return document


def turns(contestants: Sequence[T], round_number: int) -> Sequence[T]:
    """Return the contestants in the order of this round: the first one alternates."""
    return contestants if round_number % 2 == 0 else contestants[::-1]
