"""`up --demo`: the hub with simulated homes and buyers, and what comes of it."""

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, aclosing, suppress
from pathlib import Path
from random import SystemRandom
from signal import SIGTERM

import httpx
import psutil
import typer
from rich.console import Console
from rich.live import Live

from core import log
from core.feed import FeedEvent, Subscription
from core.settings import DatabaseSettings, LogSettings, load
from db.pool import open_pool
from simulators import private_json
from simulators.feed import FeedClient
from simulators.hub_client import HubSession, UserAccount, open_hub
from solarhub import admin, dashboard
from solarhub.audit_report import recompute
from solarhub.child import ChildProcess
from solarhub.dashboard import FigureWatcher
from solarhub.run_file import RunFile
from solarhub.up import look_after, up

# When the wait began, as seconds since 1970: `make demo` counts the installation in.
_SINCE = "SOLARHUB_DEMO_SINCE"

_HOMES = ("devices", "--count", "24", "--rate", "2", "--sun", "11:00", "--wait", "60")
_BUYERS = ("buyers", "--count", "10")
_BUYERS_WAIT_AT_MOST_S = 20.0
_TABLE_EVERY_S = 0.5
_LINE_EVERY_S = 5.0


def demonstrate(data: Path, seconds: float | None) -> None:
    """Exit code 0 only if the books hold at the end. Logs go to a file: the table is here."""
    data.mkdir(parents=True, exist_ok=True)
    with (data / "hub.log").open("a") as log_file:
        log.set_up(load(LogSettings), process="demo", stream=log_file)
        demo = Demo(data, seconds, Console(highlight=False))
        up(data, demo.run, prepare=demo.prepare)
    raise typer.Exit(0 if demo.sound else 1)


class Demo:
    """One demonstration; `sound` tells afterwards whether the books held."""

    def __init__(self, data: Path, seconds: float | None, console: Console) -> None:
        self._data = data
        self._seconds = seconds
        self._console = console
        self._children: list[ChildProcess] = []
        self._moving = asyncio.Event()
        self.sound = True

    def prepare(self, stack: ExitStack) -> None:
        """Start the homes, which take as long to get ready as the hub does."""
        stack.callback(self._stop_children)
        self._simulate("homes", _HOMES)

    def _stop_children(self) -> None:
        for child in self._children:
            child.stop()

    def _simulate(self, name: str, arguments: Sequence[str]) -> None:
        command = [sys.executable, "-m", "solarhub", "simulate", *arguments]
        child = ChildProcess(
            f"simulated {name}",
            [*command, "--data", str(self._data)],
            log=self._data / f"{name}.log",
            stop_signals=[SIGTERM],
        )
        self._children.append(child)

    async def run(self, run: RunFile) -> None:
        settings = load(DatabaseSettings, database_url=run.database_url)
        administrator = await admin.embedded(self._data, settings)
        link = await admin.sign_in_link(settings, administrator.email, run.api_url)
        self._welcome(run, administrator, link)
        async with (
            open_pool(settings, application_name="demo", max_size=2) as pool,
            httpx.AsyncClient(timeout=10) as http,
        ):
            watch = FigureWatcher(run.api_url, pool, http)
            try:
                await self._show(run, watch, administrator)
            finally:
                await self._stop_simulators()
            self._console.print("Simulators stopped; waiting for what is under way.")
            await watch.until_settled()
            self._console.print(dashboard.as_table(watch))
        self._console.print("The books:")
        self.sound = await recompute(settings)

    async def _stop_simulators(self) -> None:
        # In threads: the hub that they take leave of runs in this one.
        await asyncio.gather(*(asyncio.to_thread(child.stop) for child in self._children))

    def _welcome(self, run: RunFile, administrator: UserAccount, link: str) -> None:
        tell = self._console.print
        tell(f"look       {link}  (signs you in, once)", soft_wrap=True)
        tell(f"API        {run.api_url}  (docs: {run.api_url}/docs)")
        tell(f"live feed  {run.realtime_url}")
        tell(f"MQTT       {run.mqtt_url}")
        tell(f"logs       {self._data / 'hub.log'}")
        tell(f"admin      {administrator.email}  {administrator.password}")

    async def _show(self, run: RunFile, watch: FigureWatcher, administrator: UserAccount) -> None:
        """The table, until the time is up."""
        try:
            async with asyncio.timeout(self._seconds) as limit, asyncio.TaskGroup() as tasks:
                tasks.create_task(look_after(self._children))
                tasks.create_task(self._tell_first_event(run, administrator))
                tasks.create_task(self._let_buyers_in())
                tasks.create_task(self._tell_sign_ins())
                await (self._table(watch) if self._console.is_terminal else self._lines(watch))
        except TimeoutError:
            if not limit.expired():
                raise

    async def _let_buyers_in(self) -> None:
        """Once there is something to see: until then the homes can use all the time there is."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._moving.wait(), _BUYERS_WAIT_AT_MOST_S)
        self._simulate("buyers", _BUYERS)

    async def _tell_sign_ins(self) -> None:
        """One host and one buyer, as soon as they have been invented."""
        for role, file in (("host", "fleet.json"), ("buyer", "buyers.json")):
            account = await _first_account(self._data / file)
            self._console.print(f"{role:<10} {account.email}  {account.password}")

    async def _tell_first_event(self, run: RunFile, administrator: UserAccount) -> None:
        """How long it took until the first listing moved on a socket."""
        since = float(os.environ.get(_SINCE) or psutil.Process().create_time())
        await _first_listing_updated(run, administrator)
        self._moving.set()
        self._console.print(f"first listing.updated on a socket after {time.time() - since:.1f} s")

    async def _table(self, watch: FigureWatcher) -> None:
        with Live(console=self._console, auto_refresh=False) as live:
            while True:
                await watch.look()
                live.update(dashboard.as_table(watch), refresh=True)
                await asyncio.sleep(_TABLE_EVERY_S)

    async def _lines(self, watch: FigureWatcher) -> None:
        while True:
            await asyncio.sleep(_LINE_EVERY_S)
            await watch.look()
            self._console.print(dashboard.as_line(watch), soft_wrap=True)


async def _first_account(path: Path) -> UserAccount:
    while True:
        known = private_json.read(path) or []
        accounts = known["owners"] if isinstance(known, dict) else known
        if accounts:
            return UserAccount(**accounts[0])
        await asyncio.sleep(_TABLE_EVERY_S)


async def _first_listing_updated(run: RunFile, who: UserAccount) -> None:
    async with open_hub(run.api_url) as hub:
        session = await HubSession.sign_in(hub, who)
        feed = FeedClient(
            run.realtime_url, [Subscription("listings")], token=session.token, chance=SystemRandom()
        )
        async with aclosing(feed.events()) as events:
            async for event in events:
                if isinstance(event, FeedEvent) and event.type == "listing.updated":
                    return
