"""What a case found: samples of contestants that took turns, ratios, targets."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from statistics import median
from typing import Any, TypeVar

from bench.machine import Facts, facts

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sample:
    """One contestant's turn in one round; latencies where it was asked one by one.

    `cpu_us`: CPU time per item of each process that took part, by name, where it could be read.
    `rss_mb`: the most memory that the contestant held, where it was watched.
    """

    per_s: float
    p50_ms: float | None = None
    p99_ms: float | None = None
    cpu_us: Mapping[str, float] = field(default_factory=dict)
    rss_mb: float | None = None


@dataclass(frozen=True, slots=True)
class Contestant:
    """Who took part, what it does in a few words, and its samples in the order of rounds."""

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


def ratio(ours: Contestant, other: Contestant) -> float:
    """Ours to the other: the median over rounds, so that a slow minute counts on both sides."""
    pairs = zip(ours.samples, other.samples, strict=True)
    return median(mine.per_s / its.per_s for mine, its in pairs)


@dataclass(frozen=True, slots=True)
class Target:
    """A figure that we want to reach: at least `wanted`, or at most where `at_most`."""

    what: str
    wanted: float
    found: float
    at_most: bool = False

    @property
    def met(self) -> bool:
        return self.found <= self.wanted if self.at_most else self.found >= self.wanted


@dataclass(frozen=True, slots=True)
class Course:
    """How the hub's figure went: its value at so many seconds from the beginning."""

    seconds: Sequence[float]
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Result:
    """A case's outcome; the first contestant is the hub."""

    case: str
    what: str
    unit: str
    contestants: Sequence[Contestant]
    targets: Sequence[Target]
    audit_passed: bool
    parameters: dict[str, int | float | str]
    absent: Sequence[str] = ()  # who took no part, and what it needs
    course: Course | None = None  # plotted in place of the contestants
    machine: Facts = field(default_factory=facts)
    measured_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat("T", "seconds"))

    def ratios(self) -> Iterator[tuple[Contestant, float]]:
        ours, *others = self.contestants
        return ((other, ratio(ours, other)) for other in others)

    def as_json(self) -> dict[str, Any]:
        document = asdict(self)
        document["ratios"] = {other.name: round(value, 3) for other, value in self.ratios()}
        for target, shown in zip(self.targets, document["targets"], strict=True):
            shown["met"] = target.met
        return document


def turns(contestants: Sequence[T], round_number: int) -> Sequence[T]:
    """Who goes first changes with the round."""
    return contestants if round_number % 2 == 0 else contestants[::-1]
