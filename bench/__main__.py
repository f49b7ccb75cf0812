"""Entry point of `python -m bench`, which is the same as `solarhub bench`."""

import typer

from bench.cli import bench

app = typer.Typer(add_completion=False)
app.command()(bench)
app(prog_name="python -m bench")
