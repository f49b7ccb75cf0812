"""All commands of `solarhub`, their options and exit codes.

Exit codes: 0 done, 1 failed, 2 wrong use (settings included). A failure prints one line on stderr
that says what to do. `--debug` anywhere on the command line prints the traceback instead.
"""

import asyncio
import os
import re
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import EntryPoint, distribution
from typing import Annotated

import typer
from dotenv import dotenv_values

from core import log
from core.settings import (
    DatabaseSettings,
    LogSettings,
    PasswordSettings,
    RoleSettings,
    SettingError,
    check_names,
    load,
)
from solarhub import services
from solarhub.errors import CommandError, database_reached
from solarhub.options import DATA, DEMO_SPEED, Data, Seconds
from solarhub.run_file import fill_environment

# Commands that need extras are entry points of this group in pyproject.toml. An entry point names a
# function whose signature and docstring define the command, or a `typer.Typer` with commands.
COMMANDS_GROUP = "solarhub.commands"

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The hub of a solar sharing platform.",
)
for service in (services.api, services.ingest, services.relay, services.realtime):
    app.command()(service)


def main() -> None:
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    # Treat SIGTERM like Ctrl-C until a process installs its own handler, so that `finally` blocks
    # and context managers run.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if not names_own_command(arguments):
        add_other_commands()
    try:
        check_names({**dotenv_values(".env"), **os.environ})
        app(arguments, prog_name="solarhub")
    except BrokenPipeError:
        # The reader of the output has ended, as in `solarhub audit | head`. Python would report the
        # same again when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if len(arguments) < len(sys.argv) - 1:
            raise
        sys.stderr.write(f"solarhub: {_in_one_line(error)}\n")
        sys.exit(2 if isinstance(error, SettingError) else 1)


def names_own_command(arguments: Sequence[str]) -> bool:
    """Return whether the arguments name a command that this module defines."""
    own = [command.callback for command in app.registered_commands if command.callback]
    names = {callback.__name__.replace("_", "-") for callback in own}
    return next((one for one in arguments if not one.startswith("-")), None) in names


def add_other_commands() -> None:
    """Add the commands that pyproject.toml registers in `COMMANDS_GROUP`.

    They take as long to import as everything else: no process of the hub waits for it.
    """
    # Only this distribution's own entry points: another installed package cannot add code here.
    for entry in distribution("solarhub").entry_points.select(group=COMMANDS_GROUP):
        try:
            command = entry.load()
        except ModuleNotFoundError as error:
            _add_placeholder(entry, error)
            continue
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=entry.name)
        else:
            app.command(entry.name)(command)


def _add_placeholder(entry: EntryPoint, error: ModuleNotFoundError) -> None:
    """Add a command that fails with what to install, whatever its arguments are."""
    anything = {"allow_extra_args": True, "ignore_unknown_options": True}

    @app.command(entry.name, help=f"Not installed: needs {error.name}.", context_settings=anything)
    def not_installed() -> None:
        raise error


def _in_one_line(error: Exception) -> str:
    message = log.printable(" ".join(str(error).split()))
    if isinstance(error, CommandError | SettingError):
        return message
    if isinstance(error, ModuleNotFoundError) and (extra := _extra_with(error.name or "")):
        return f"{error.name} is not installed: pip install 'solarhub[{extra}]'"
    return f"{type(error).__name__}: {message} (--debug shows the traceback)"


def _extra_with(module: str) -> str | None:
    """Return the extra that declares a library, None if no extra does."""
    for requirement in distribution("solarhub").requires or ():
        found = re.match(r"([\w-]+).*extra == .(\w+)", requirement)
        if found and found[1].replace("-", "_") == module.partition(".")[0]:
            return found[2]
    return None


@app.callback()
def every_command(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of a failure.")
    ] = False,
) -> None:
    """Document `--debug`; `main` removes it from the arguments wherever it stands."""


@app.command()
def up(
    data: Data = DATA,
    demo: Annotated[
        bool, typer.Option("--demo", help="Add simulated homes and buyers, and show a live table.")
    ] = False,
    speed: Annotated[
        float | None,
        typer.Option(
            min=1,
            help="With --demo: seconds of the hub's clock per second; 1 is real time."
            f" [default: {DEMO_SPEED:g}, a day in five minutes]",
            show_default=False,
        ),
    ] = None,
    seconds: Seconds = None,
) -> None:
    """Run the whole hub in one process; servers without a URL setting run embedded."""
    if speed is not None and not demo:
        raise typer.BadParameter("--speed needs --demo")
    from solarhub import demo as demonstration
    from solarhub.up import serve
    from solarhub.up import up as run

    if demo:
        demonstration.demonstrate(data, seconds, speed)
    else:
        log.set_up(load(LogSettings), process="up")
        run(data, lambda hub: serve(hub, seconds))


@app.command()
def migrate(data: Data = DATA) -> None:
    """Upgrade the schema and the database roles; safe to run from several hosts at once."""
    from db import schema

    fill_environment(data)
    passwords = _role_passwords(load(RoleSettings))
    with database_reached():
        before, after = asyncio.run(schema.migrate(load(DatabaseSettings), passwords))
    typer.echo(f"The schema is at {after}" + (" already." if before == after else "."))


def _role_passwords(settings: RoleSettings) -> dict[str, str]:
    """Return the passwords that are set, by database role."""
    from db import roles

    passwords = {
        roles.API: settings.database_password_api,
        roles.INGEST: settings.database_password_ingest,
        roles.RELAY: settings.database_password_relay,
        roles.REALTIME: settings.database_password_realtime,
    }
    return {role: secret.get_secret_value() for role, secret in passwords.items() if secret}


@app.command()
def audit(
    data: Data = DATA,
    head: Annotated[
        str | None,
        typer.Option(
            help="Also check that the ledger still contains this head, which was noted"
            " elsewhere: [SEQUENCE:]HASH"
        ),
    ] = None,
) -> None:
    """Recompute money and energy from entries and readings; exit code 1 if a check fails."""
    from solarhub.audit import print_audit

    fill_environment(data)
    raise typer.Exit(0 if asyncio.run(print_audit(load(DatabaseSettings), head=head)) else 1)


@app.command()
def create_admin(
    email: Annotated[str, typer.Argument(help="Email address to sign in with.")],
    data: Data = DATA,
) -> None:
    """Create an administrator; asks for the password unless SOLARHUB_ADMIN_PASSWORD is set."""
    from solarhub.admin import checked_email, create

    fill_environment(data)
    checked_email(email)
    password = os.environ.get("SOLARHUB_ADMIN_PASSWORD") or typer.prompt(
        "Password", hide_input=True, confirmation_prompt=True
    )
    rounds = load(PasswordSettings).bcrypt_rounds
    asyncio.run(create(load(DatabaseSettings), email, password, rounds))
    typer.echo(f"{email} is an administrator.")


@app.command()
def doctor(data: Data = DATA) -> None:
    """Show what is configured, reachable and missing; exit code 1 if anything is wrong."""
    from solarhub.doctor import examine

    # The report itself says that no hub runs on `data`, or which setting is missing.
    with suppress(SettingError):
        fill_environment(data)
    raise typer.Exit(0 if asyncio.run(examine(data)) else 1)
