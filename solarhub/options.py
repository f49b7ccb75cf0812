"""Command-line options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

# Seconds of the hub's clock per second of a demonstration: a day lasts five minutes.
DEMO_SPEED = 288.0

DATA = Path(".solarhub")
Data = Annotated[
    Path,
    typer.Option(
        "--data", help="Data directory of `up`; other commands use the hub that runs on it."
    ),
]
Seconds = Annotated[
    float | None,
    typer.Option(min=1, help="Stop after this many seconds. By default, run until Ctrl-C."),
]
