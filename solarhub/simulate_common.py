"""What the simulate commands share: options, finding the hub, running until done or stopped."""

import sys
import time
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from core.settings import AdminSignInSettings, DatabaseSettings, MqttTrustSettings, load
from simulators.administering import NEEDED
from simulators.feed import FeedRefused
from simulators.hub_addresses import BrokerAddress, HubAddresses
from simulators.hub_client import HubClientError as HubSaysNo
from simulators.hub_client import Unreachable, UserAccount
from simulators.link import LinkTally
from solarhub import admin, run_file
from solarhub.errors import CommandError
from solarhub.process import run_until_stopped

ApiUrl = Annotated[str | None, typer.Option(help="The hub's API, if not the one that runs here.")]
MqttUrl = Annotated[str | None, typer.Option(help="mqtt:// or mqtts://, if not as the hub says.")]
Wait = Annotated[
    float, typer.Option(min=0, help="Seconds to wait for the hub of --data, if it is to come up.")
]
Seed = Annotated[int, typer.Option(help="The same seed makes the same homes, weather and people.")]

_NEARBY = "http://127.0.0.1:8000"
_LOOK_EVERY_S = 0.05
_FILES_BESIDE_DEVICES = 256


def hub_at(data: Path, *, api_url: str | None, mqtt_url: str | None = None) -> HubAddresses:
    """As told; else the hub that runs on this data directory; else the one on the usual port."""
    run = run_file.find(data)
    ca_file = load(MqttTrustSettings).mqtt_ca_file
    if run is None or api_url not in (None, run.api_url):
        broker = BrokerAddress.of(mqtt_url, ca_file) if mqtt_url else None
        return HubAddresses((api_url or _NEARBY).rstrip("/"), broker)
    broker = BrokerAddress.of(mqtt_url or run.mqtt_url, ca_file)
    return HubAddresses(run.api_url, broker, run.realtime_url)


async def with_administrator(data: Path, hub: HubAddresses) -> HubAddresses:
    """The same hub with an administrator to act for: the one whose sign-in is set, else that of the
    hub that runs on this data directory. Without either it is told what can't be done."""
    sign_in, run = load(AdminSignInSettings), run_file.find(data)
    account = None
    if sign_in.admin_email is not None and sign_in.admin_password is not None:
        password = sign_in.admin_password.get_secret_value()
        account = UserAccount(sign_in.admin_email, password, "Administrator", "admin")
    elif run is not None and run.api_url == hub.api_url:
        account = await admin.embedded(data, load(DatabaseSettings, database_url=run.database_url))
    else:
        typer.echo(NEEDED[0].upper() + NEEDED[1:] + ".", err=True)
    return replace(hub, administrator=account)


def wait_for_hub(data: Path, wait_s: float) -> None:
    """Return once a hub runs on this data directory, or when the time is up."""
    deadline = time.monotonic() + wait_s
    while run_file.find(data) is None and time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY_S)


def until_done_or_stopped(work: Coroutine[Any, Any, None]) -> None:
    """Run; SIGTERM and Ctrl-C end it in peace. Raises CommandError when the hub says no."""
    try:
        run_until_stopped(work)
    except Unreachable as error:
        raise CommandError(f"{error}: start `solarhub up`, or give --data or --api-url") from error
    except (HubSaysNo, FeedRefused) as refusal:
        raise CommandError(str(refusal)) from refusal


def allow_connections(devices: int) -> None:
    """Raise this process's limit on open files to what so many devices need."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = devices + _FILES_BESIDE_DEVICES
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise CommandError(f"{devices} devices need {needed} open files, and ulimit -Hn is {hard}")
    if soft != resource.RLIM_INFINITY and needed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def told(links: LinkTally) -> str:
    """How the connections are, in a few words."""
    words = f"{links.connected:,} connected"
    if links.lost:
        words += f", {links.lost:,} lost (last: {links.last_error})"
    return words
