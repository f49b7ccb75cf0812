"""Options of the benchmarks, most of them from the command line."""

import secrets
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench.database import BenchDatabaseServer


@dataclass(frozen=True, slots=True)
class Options:
    """Options of one case."""

    server: BenchDatabaseServer
    # Scratch directory for logs and queues.
    work: Path
    rounds: int = 3
    # Length of one turn over HTTP.
    seconds: int = 5
    # Readings of one round.
    readings: int = 60_000
    listings: int = 1_000_000
    devices: int = 200
    page_seconds: int = 30
    memory_seconds: int = 60
    late_readings: int = 604_800
    connections: int = 32
    jwt_secret: str = field(default_factory=partial(secrets.token_hex, 32))
