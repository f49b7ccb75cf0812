"""The demonstration `up --demo`: the hub with simulated homes and buyers, and a live table."""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack, aclosing
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from random import SystemRandom

import httpx
import psutil
import typer
from rich.console import Console
from rich.live import Live

from core import log
from core.clock import REAL_TIME, Clock, real_now
from core.feed import FeedEvent, Subscription
from core.settings import DatabaseSettings, LogSettings, UpSettings, load, variable
from db.pool import open_pool
from simulators import private_json
from simulators.feed import FeedClient
from simulators.hub_client import HubSession, UserAccount, open_hub
from simulators.sun import local_midnight
from solarhub import admin, dashboard
from solarhub.audit import print_audit
from solarhub.child import ChildProcess
from solarhub.dashboard import DashboardWatcher
from solarhub.errors import CommandError
from solarhub.options import DEMO_SPEED
from solarhub.run_file import RunFile
from solarhub.up import up, watch

# Unix time at which waiting began, in seconds; `make demo` sets it to include the installation.
_SINCE = "SOLARHUB_DEMO_SINCE"

_HOMES = ("neighbourhood", "--wait", "60")
_BUYERS = ("buyers", "--count", "16", "--radius-km", "8", "--routine", "--wait", "60")
# Everybody signs up within seconds, with passwords that the terminal shows.
_BCRYPT_ROUNDS = "8"
# Attempted purchases per second of the hub's clock: they just buy what the homes can sell.
_PURCHASES_HZ = 0.024
# In real time a day's energy would last for days otherwise.
_PURCHASES_MIN_HZ = 0.5
# The first day of a demonstration, which runs until it has caught up with the real time, and the
# hour at which it starts: the sun is up.
_DAYS_BACK = timedelta(days=28)
_STARTS_AT_H = 9
_TABLE_EVERY_S = 0.5
_LINE_EVERY_S = 5.0


def demonstrate(data: Path, seconds: float | None, speed: float | None) -> None:
    """Run the demonstration; exit with code 0 only if the audit at its end passes.

    Logs go to a file, because the terminal shows the table. Raises CommandError if the database is
    not embedded and the speed is not that of real time.
    """
    speed = _allowed(speed)
    os.environ.setdefault(variable("bcrypt_rounds"), _BCRYPT_ROUNDS)
    if _SINCE in os.environ:
        # The shell that `make demo` runs could not continue a demonstration that Ctrl-Z suspended.
        signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    data.mkdir(parents=True, exist_ok=True)
    with (data / "hub.log").open("a") as log_file:
        log.set_up(load(LogSettings), process="demo", stream=log_file)
        demo = Demo(data, seconds, speed, Console(highlight=False))
        up(
            data,
            demo.run,
            prepare=demo.prepare,
            clock_after=partial(clock_after, speed),
            interrupt=demo.interrupt,
        )
    raise typer.Exit(0 if demo.audit_passed else 1)


class _Interrupted(Exception):
    """Ctrl-C ends the demonstration."""


def _allowed(speed: float | None) -> float:
    """Return the speed of a demonstration, which is 1 with a database that others may use."""
    if load(UpSettings).database_url is None:
        return DEMO_SPEED if speed is None else speed
    if speed not in (None, 1):
        raise CommandError(
            "--speed: only an embedded database can have a clock of its own:"
            f" unset {variable('database_url')}, or give --speed 1"
        )
    return 1.0


def clock_after(speed: float, latest: datetime | None) -> Clock:
    """Return the clock of a demonstration: it starts on a morning weeks ago, or after `latest`."""
    if speed == 1:
        return REAL_TIME
    morning = local_midnight(real_now() - _DAYS_BACK) + timedelta(hours=_STARTS_AT_H)
    return Clock.starting(morning if latest is None else max(morning, latest), speed=speed)


class Demo:
    """One demonstration; `audit_passed` holds the result of the audit at its end."""

    def __init__(self, data: Path, seconds: float | None, speed: float, console: Console) -> None:
        self._data = data
        self._seconds = seconds
        self._speed = speed
        self._console = console
        self._children: list[ChildProcess] = []
        self._is_shown = False
        self._interrupted = asyncio.Event()
        self.audit_passed = True

    def prepare(self, stack: ExitStack) -> None:
        """Start homes and buyers now: they take as long to start as the hub does."""
        stack.callback(self._stop_children)
        self._simulate("homes", _HOMES)
        rate_hz = max(_PURCHASES_MIN_HZ, _PURCHASES_HZ * self._speed)
        self._simulate("buyers", (*_BUYERS, "--rate", f"{rate_hz:g}"))

    def interrupt(self) -> bool:
        """Go on to the summary and the audit, at the first Ctrl-C. Return whether that is so."""
        goes_on = self._is_shown and not self._interrupted.is_set()
        if goes_on:
            self._interrupted.set()
        return goes_on

    def _stop_children(self) -> None:
        for child in self._children:
            child.stop()

    def _simulate(self, name: str, arguments: Sequence[str]) -> None:
        command = [sys.executable, "-m", "solarhub", "simulate", *arguments]
        child = ChildProcess(
            f"simulated {name}",
            [*command, "--data", str(self._data)],
            log=self._data / f"{name}.log",
            stop_signals=[signal.SIGTERM],
        )
        self._children.append(child)

    async def run(self, run: RunFile) -> None:
        settings = load(DatabaseSettings, database_url=run.database_url)
        administrator = await admin.embedded(self._data, settings)
        link = await admin.sign_in_link(settings, administrator.email, run.api_url)
        self._print_addresses(run, administrator, link)
        async with (
            open_pool(settings, application_name="demo", max_size=2) as pool,
            httpx.AsyncClient(timeout=10) as http,
        ):
            clock = REAL_TIME if run.clock is None else Clock.parse(run.clock)
            watcher = DashboardWatcher(run.api_url, pool, http, clock)
            try:
                await self._show(run, watcher, administrator)
            finally:
                await self._stop_simulators()
            self._console.print("Simulators stopped; waiting until everything is processed.")
            await watcher.until_settled()
            self._console.print(dashboard.as_table(watcher))
        self._console.print("Audit:")
        self.audit_passed = await print_audit(settings)

    async def _stop_simulators(self) -> None:
        # In threads: the simulators disconnect from the hub, which runs in this event loop.
        await asyncio.gather(*(asyncio.to_thread(child.stop) for child in self._children))

    def _print_addresses(self, run: RunFile, administrator: UserAccount, link: str) -> None:
        show = self._console.print
        show(f"look       {link}  (signs you in, once)", soft_wrap=True)
        show(f"API        {run.api_url}  (docs: {run.api_url}/docs)")
        show(f"live feed  {run.realtime_url}")
        show(f"MQTT       {run.mqtt_url}")
        show(f"logs       {self._data / 'hub.log'}")
        show(f"admin      {administrator.email}  {administrator.password}")

    async def _show(
        self, run: RunFile, watcher: DashboardWatcher, administrator: UserAccount
    ) -> None:
        """Show the table until the time is up, or until Ctrl-C."""
        self._is_shown = True
        try:
            async with asyncio.timeout(self._seconds) as limit, asyncio.TaskGroup() as tasks:
                tasks.create_task(watch(self._children))
                tasks.create_task(self._time_first_event(run, administrator))
                tasks.create_task(self._print_sign_ins())
                tasks.create_task(self._end_when_interrupted())
                await (self._table if self._console.is_terminal else self._lines)(watcher)
        except* _Interrupted:
            pass
        except* TimeoutError:
            if not limit.expired():
                raise

    async def _end_when_interrupted(self) -> None:
        await self._interrupted.wait()
        raise _Interrupted

    async def _print_sign_ins(self) -> None:
        """Print how one host and one buyer sign in, as soon as the simulators have created them."""
        for role, file in (("host", "fleet.json"), ("buyer", "buyers.json")):
            account = await _first_account(self._data / file)
            self._console.print(f"{role:<10} {account.email}  {account.password}")

    async def _time_first_event(self, run: RunFile, administrator: UserAccount) -> None:
        """Print how long it took until a socket received the first change of a listing."""
        since = float(os.environ.get(_SINCE) or psutil.Process().create_time())
        await _first_listing_updated(run, administrator)
        self._console.print(
            f"first listing.updated on a socket after {real_now().timestamp() - since:.1f} s"
        )

    async def _table(self, watcher: DashboardWatcher) -> None:
        with Live(console=self._console, auto_refresh=False) as live:
            while True:
                await watcher.refresh()
                live.update(dashboard.as_table(watcher), refresh=True)
                await asyncio.sleep(_TABLE_EVERY_S)

    async def _lines(self, watcher: DashboardWatcher) -> None:
        while True:
            await asyncio.sleep(_LINE_EVERY_S)
            await watcher.refresh()
            self._console.print(dashboard.as_line(watcher), soft_wrap=True)


async def _first_account(path: Path) -> UserAccount:
    while True:
        document = private_json.read(path) or []
        accounts = document["owners"] if isinstance(document, dict) else document
        if accounts:
            return UserAccount(**accounts[0])
        await asyncio.sleep(_TABLE_EVERY_S)


async def _first_listing_updated(run: RunFile, account: UserAccount) -> None:
    async with open_hub(run.api_url) as hub:
        session = await HubSession.sign_in(hub, account)
        feed = FeedClient(
            run.realtime_url, [Subscription("listings")], token=session.token, rng=SystemRandom()
        )
        async with aclosing(feed.events()) as events:
            async for event in events:
                if isinstance(event, FeedEvent) and event.type == "listing.updated":
                    return
