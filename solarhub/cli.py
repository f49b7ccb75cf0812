"""Every command: what it takes, and what it ends with.

0: done; 1: failed; 2: wrong use, settings included. A failure is one line on stderr that says what
to do; with `--debug` anywhere on the line the trace is shown instead.
"""

import asyncio
import os
import signal
import sys
from importlib import import_module
from typing import Annotated

import typer

from core import log
from core.settings import (
    DatabaseSettings,
    LogSettings,
    PasswordSettings,
    RoleSettings,
    SettingError,
    load,
)
from solarhub import services, simulate
from solarhub.database_roles import role_passwords
from solarhub.errors import CommandError, database_reached
from solarhub.options import DATA, Data, Seconds
from solarhub.run_file import fill_environment

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The hub of a solar sharing platform.",
)
for service in (services.api, services.ingest, services.relay, services.realtime):
    app.command()(service)
app.add_typer(simulate.app, name="simulate")


def main() -> None:
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    # Until a process has a handler of its own, SIGTERM is like Ctrl-C: nothing stays behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app(arguments, prog_name="solarhub")
    except Exception as error:
        if len(arguments) < len(sys.argv) - 1:
            raise
        sys.stderr.write(f"solarhub: {_in_one_line(error)}\n")
        sys.exit(2 if isinstance(error, SettingError) else 1)


def _in_one_line(error: Exception) -> str:
    told = log.printable(" ".join(str(error).split()))
    if isinstance(error, CommandError | SettingError):
        return told
    return f"{type(error).__name__}: {told} (--debug shows where)"


@app.callback()
def every_command(
    debug: Annotated[bool, typer.Option("--debug", help="Show the trace of a failure.")] = False,
) -> None:
    """Here for the help only: `main` takes `--debug` off the line, wherever on it that is."""


@app.command()
def up(
    data: Data = DATA,
    demo: Annotated[bool, typer.Option("--demo", help="With simulated homes and buyers.")] = False,
    seconds: Seconds = None,
) -> None:
    """The whole hub in one go; what has no URL set runs embedded, with its data in --data."""
    from solarhub import demo as demonstration
    from solarhub.up import serve
    from solarhub.up import up as run

    if demo:
        demonstration.demonstrate(data, seconds)
    else:
        log.set_up(load(LogSettings), process="up")
        run(data, lambda hub: serve(hub, seconds))


@app.command()
def migrate(data: Data = DATA) -> None:
    """Bring schema and database roles up to date; safe to run at once from several hosts."""
    from db import schema

    fill_environment(data)
    passwords = role_passwords(load(RoleSettings))
    with database_reached():
        before, after = asyncio.run(schema.migrate(load(DatabaseSettings), passwords))
    typer.echo(f"The schema is at {after}" + (", as it was." if before == after else "."))


@app.command()
def audit(
    data: Data = DATA,
    head: Annotated[
        str | None,
        typer.Option(
            help="A head of the ledger's digests that was noted elsewhere: [SEQUENCE:]HASH"
        ),
    ] = None,
) -> None:
    """Recompute the books from entries and readings; exit code 1 if anything is amiss."""
    from solarhub.audit_report import recompute

    fill_environment(data)
    raise typer.Exit(0 if asyncio.run(recompute(load(DatabaseSettings), head=head)) else 1)


@app.command()
def create_admin(email: str, data: Data = DATA) -> None:
    """Make an administrator; the password is asked for, or taken from SOLARHUB_ADMIN_PASSWORD."""
    from solarhub.admin import create

    fill_environment(data)
    password = os.environ.get("SOLARHUB_ADMIN_PASSWORD") or typer.prompt(
        "Password", hide_input=True, confirmation_prompt=True
    )
    rounds = load(PasswordSettings).bcrypt_rounds
    asyncio.run(create(load(DatabaseSettings), email, password, rounds))
    typer.echo(f"{email} is an administrator.")


@app.command()
def doctor(data: Data = DATA) -> None:
    """Tell what is configured, reachable and missing; exit code 1 if something is."""
    from solarhub.doctor import examine

    fill_environment(data)
    raise typer.Exit(0 if asyncio.run(examine(data)) else 1)


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def bench(context: typer.Context) -> None:
    """Measure the hub against floors and peers on this machine; `bench --help` tells more."""
    # By name: bench stands above us, and is not needed to run a hub.
    import_module("bench.cli").app(context.args, prog_name="solarhub bench")
