"""What the person who runs the benchmarks may choose."""

import secrets
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench.database import BenchDatabaseServer


@dataclass(frozen=True, slots=True)
class Options:
    """`work` is a scratch directory for logs and queues; `seconds` is the time of one turn."""

    server: BenchDatabaseServer
    work: Path
    rounds: int = 3
    seconds: int = 5
    readings: int = 60_000
    listings: int = 1_000_000
    devices: int = 200
    page_seconds: int = 30
    memory_seconds: int = 60
    late_readings: int = 604_800
    connections: int = 32
    jwt_secret: str = field(default_factory=partial(secrets.token_hex, 32))
