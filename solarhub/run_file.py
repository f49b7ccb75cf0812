"""Where the hub of a data directory runs, for every other command given `--data DIR`."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from dotenv import dotenv_values

from core.settings import variable
from solarhub import keys

# Who tries a hub out has no payment provider: the sandbox takes the place of one.
PROVIDERS_OF_UP = ("sandbox",)
_FILE = "run.json"


@dataclass(frozen=True, slots=True)
class RunFile:
    """A running hub. `mqtt_url` is what devices use, without anyone's password."""

    pid: int
    api_url: str
    realtime_url: str
    mqtt_url: str
    database_url: str
    redis_url: str


def announce(data: Path, run: RunFile) -> None:
    keys.write_private(data / _FILE, asdict(run))


def withdraw(data: Path) -> None:
    (data / _FILE).unlink(missing_ok=True)


def find(data: Path) -> RunFile | None:
    """The hub that runs on this data directory; None, too, when it was killed."""
    try:
        run = RunFile(**json.loads((data / _FILE).read_text("utf-8")))
    except FileNotFoundError:
        return None
    return run if _lives(run.pid) else None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # as somebody else
    return True


def fill_environment(data: Path) -> None:
    """Set what is not set, in the environment or `.env`, to what the hub that runs here uses."""
    run, kept = find(data), keys.read(data)
    if run is None or kept is None:
        return
    already = {**dotenv_values(".env"), **os.environ}
    for field, value in _settings(run, kept).items():
        if not already.get(variable(field)):
            os.environ[variable(field)] = value


def _settings(run: RunFile, kept: keys.Keys) -> Mapping[str, str]:
    return {
        "database_url": run.database_url,
        "redis_url": run.redis_url,
        "mqtt_url": with_user(run.mqtt_url, "hub", kept.hub_password),
        "mqtt_public_url": run.mqtt_url,
        "public_url": run.api_url,
        "realtime_url": run.realtime_url,
        "jwt_secret": kept.jwt_secret,
        "payment_webhook_secret": kept.webhook_secret,
        "payment_providers": ",".join(PROVIDERS_OF_UP),
    }


def without_user(url: str) -> str:
    """The same URL for everybody's eyes."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def with_user(url: str, username: str, password: str) -> str:
    """The same URL with a user's name and password in it."""
    parts = urlsplit(without_user(url))
    user = f"{quote(username)}:{quote(password, safe='')}"
    return parts._replace(netloc=f"{user}@{parts.netloc}").geturl()
