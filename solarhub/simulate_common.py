"""Options and helpers of all `simulate` commands: finding the hub, running until stopped."""

import sys
import time
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from core.enums import UserRole
from core.settings import AdminSignInSettings, DatabaseSettings, MqttTrustSettings, load
from simulators.device_connection import ConnectionTally
from simulators.feed import FeedRefused
from simulators.hub_client import (
    BrokerAddress,
    HubAddresses,
    HubClientError,
    HubUnreachable,
    UserAccount,
)
from simulators.registration import ADMINISTRATOR_NEEDED
from solarhub import admin, run_file
from solarhub.errors import CommandError
from solarhub.process import run_until_stopped

ApiUrl = Annotated[
    str | None, typer.Option(help="URL of the hub's API, instead of the hub that runs on --data.")
]
MqttUrl = Annotated[
    str | None, typer.Option(help="mqtt:// or mqtts:// URL, instead of the one the hub returns.")
]
Wait = Annotated[float, typer.Option(min=0, help="Seconds to wait until a hub runs on --data.")]
Seed = Annotated[
    int, typer.Option(help="The same seed creates the same homes, weather and people.")
]

# Where a hub with default settings listens.
_DEFAULT_API_URL = "http://127.0.0.1:8000"
_POLL_S = 0.05
# Open files that a simulator needs besides one connection per device.
_OTHER_FILES = 256


def hub_at(data: Path, *, api_url: str | None, mqtt_url: str | None = None) -> HubAddresses:
    """Return the addresses that are given, else those of the hub on `data`, else the defaults.

    Raises CommandError if no hub runs on a `data` that is not the default directory.
    """
    run = run_file.find_named(data) if api_url is None else run_file.find(data)
    ca_file = load(MqttTrustSettings).mqtt_ca_file
    if run is None or api_url not in (None, run.api_url):
        broker = BrokerAddress.of(mqtt_url, ca_file) if mqtt_url else None
        return HubAddresses((api_url or _DEFAULT_API_URL).rstrip("/"), broker)
    broker = BrokerAddress.of(mqtt_url or run.mqtt_url, ca_file)
    return HubAddresses(run.api_url, broker, run.realtime_url)


async def with_administrator(data: Path, hub: HubAddresses) -> HubAddresses:
    """Add an administrator: the one in the settings, else that of the embedded hub on `data`.

    Without either, print what is not possible then.
    """
    sign_in, run = load(AdminSignInSettings), run_file.find(data)
    account = None
    if sign_in.admin_email is not None and sign_in.admin_password is not None:
        password = sign_in.admin_password.get_secret_value()
        account = UserAccount(sign_in.admin_email, password, "Administrator", UserRole.ADMIN)
    elif run is not None and run.api_url == hub.api_url:
        account = await admin.embedded(data, load(DatabaseSettings, database_url=run.database_url))
    else:
        typer.echo(ADMINISTRATOR_NEEDED[0].upper() + ADMINISTRATOR_NEEDED[1:] + ".", err=True)
    return replace(hub, administrator=account)


def wait_for_hub(data: Path, wait_s: float) -> None:
    """Return once a hub runs on this data directory, or after `wait_s`."""
    deadline = time.monotonic() + wait_s
    while run_file.find(data) is None and time.monotonic() < deadline:
        time.sleep(_POLL_S)


def until_done_or_stopped(work: Coroutine[Any, Any, None]) -> None:
    """Run until done, SIGTERM or Ctrl-C. Raises CommandError when the hub refuses."""
    try:
        run_until_stopped(work)
    except HubUnreachable as error:
        raise CommandError(f"{error}: start `solarhub up`, or give --data or --api-url") from error
    except (HubClientError, FeedRefused) as refusal:
        raise CommandError(str(refusal)) from refusal


def allow_connections(devices: int) -> None:
    """Raise this process's limit of open files to what `devices` connections need."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = devices + _OTHER_FILES
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise CommandError(f"{devices} devices need {needed} open files, and ulimit -Hn is {hard}")
    if soft != resource.RLIM_INFINITY and needed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def describe(connections: ConnectionTally) -> str:
    """Return the state of the connections in a few words."""
    words = f"{connections.connected:,} connected"
    if connections.lost:
        words += f", {connections.lost:,} lost (last: {connections.last_error})"
    return words
