"""Options that many commands share."""

from pathlib import Path
from typing import Annotated

import typer

DATA = Path(".solarhub")
Data = Annotated[
    Path,
    typer.Option("--data", help="Where `up` keeps its data: the hub that runs there is used."),
]
Seconds = Annotated[
    float | None, typer.Option(min=1, help="End by itself after so long; else Ctrl-C does.")
]
