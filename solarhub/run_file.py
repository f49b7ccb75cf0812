"""The file `run.json` of a data directory, by which other commands find the hub that runs there."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from dotenv import dotenv_values

from core.clock import REAL_TIME, Clock
from core.settings import SettingError, variable
from solarhub import keys
from solarhub.errors import CommandError
from solarhub.options import DATA

# An embedded hub is for trying out: the sandbox stands in for a payment provider.
PROVIDERS_OF_UP = ("sandbox",)
_FILE = "run.json"


@dataclass(frozen=True, slots=True)
class RunFile:
    """Process and addresses of a running hub."""

    pid: int
    api_url: str
    realtime_url: str
    # The address that devices use, without user and password.
    mqtt_url: str
    database_url: str
    redis_url: str
    # The hub's clock as text; None, and not in the file, if the hub shows the real time.
    clock: str | None = None


def write(data: Path, run: RunFile) -> None:
    shown = {name: value for name, value in asdict(run).items() if value is not None}
    keys.write_private(data / _FILE, shown)


def remove(data: Path) -> None:
    (data / _FILE).unlink(missing_ok=True)


def find(data: Path) -> RunFile | None:
    """Return the hub that runs on this data directory; None if none runs, or it was killed."""
    try:
        run = RunFile(**json.loads((data / _FILE).read_text("utf-8")))
    except FileNotFoundError:
        return None
    return run if _is_alive(run.pid) else None


def clock_of(data: Path) -> Clock:
    """Return the clock of the hub that runs on this data directory; else the real time."""
    run = find(data)
    return REAL_TIME if run is None or run.clock is None else Clock.parse(run.clock)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # alive, as another user
    return True


def find_named(data: Path) -> RunFile | None:
    """Return the hub that runs on this data directory; None if none runs on the default one.

    Raises CommandError if none runs on another one: whoever names it means the hub there.
    """
    run = find(data)
    if run is None and data != DATA:
        raise CommandError(
            f"no hub runs on {data}: start one there with `solarhub up --data {data}`,"
            " or leave out --data"
        )
    return run


def fill_environment(data: Path) -> None:
    """Set environment variables to what the hub that runs here uses.

    Variables that are set already, in the environment or in `.env`, win. Raises SettingError if no
    hub runs on a directory that is not the default one, and no variable names a database either.
    """
    already_set = {**dotenv_values(".env"), **os.environ}
    run, stored_keys = find(data), keys.read(data)
    if run is None or stored_keys is None:
        if data != DATA and not already_set.get(variable("database_url")):
            raise SettingError(
                f"{variable('database_url')}: is required and not set, and no hub runs on {data}"
            )
        return
    for field, value in _settings(run, stored_keys).items():
        if not already_set.get(variable(field)):
            os.environ[variable(field)] = value


def _settings(run: RunFile, stored_keys: keys.Keys) -> Mapping[str, str]:
    return {
        "database_url": run.database_url,
        "redis_url": run.redis_url,
        "mqtt_url": with_user(run.mqtt_url, "hub", stored_keys.hub_password),
        "mqtt_public_url": run.mqtt_url,
        "public_url": run.api_url,
        "realtime_url": run.realtime_url,
        "jwt_secret": stored_keys.jwt_secret,
        "payment_webhook_secret": stored_keys.webhook_secret,
        "payment_providers": ",".join(PROVIDERS_OF_UP),
    }


def without_user(url: str) -> str:
    """Return the URL without user and password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def with_user(url: str, username: str, password: str) -> str:
    """Return the URL with this user name and password."""
    parts = urlsplit(without_user(url))
    user = f"{quote(username)}:{quote(password, safe='')}"
    return parts._replace(netloc=f"{user}@{parts.netloc}").geturl()
