"""The demonstration `up --demo`: the hub with simulated homes and buyers, and a live table."""

import asyncio
import os
import sys
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
from core.clock import real_now
from core.feed import FeedEvent, Subscription
from core.settings import DatabaseSettings, LogSettings, load
from db.pool import open_pool
from simulators import private_json
from simulators.feed import FeedClient
from simulators.hub_client import HubSession, UserAccount, open_hub
from solarhub import admin, dashboard
from solarhub.audit import print_audit
from solarhub.child import ChildProcess
from solarhub.dashboard import DashboardWatcher
from solarhub.run_file import RunFile
from solarhub.up import up, watch

# Unix time at which waiting began, in seconds; `make demo` sets it to include the installation.
_SINCE = "SOLARHUB_DEMO_SINCE"

_HOMES = ("devices", "--count", "24", "--rate", "2", "--sun", "11:00", "--wait", "60")
_BUYERS = ("buyers", "--count", "10")
# Buyers start at the first event, or after this time without one.
_BUYERS_WAIT_MAX_S = 20.0
_TABLE_EVERY_S = 0.5
_LINE_EVERY_S = 5.0


def demonstrate(data: Path, seconds: float | None) -> None:
    """Run the demonstration; exit with code 0 only if the audit at its end passes.

    Logs go to a file, because the terminal shows the table.
    """
    data.mkdir(parents=True, exist_ok=True)
    with (data / "hub.log").open("a") as log_file:
        log.set_up(load(LogSettings), process="demo", stream=log_file)
        demo = Demo(data, seconds, Console(highlight=False))
        up(data, demo.run, prepare=demo.prepare)
    raise typer.Exit(0 if demo.audit_passed else 1)


class Demo:
    """One demonstration; `audit_passed` holds the result of the audit at its end."""

    def __init__(self, data: Path, seconds: float | None, console: Console) -> None:
        self._data = data
        self._seconds = seconds
        self._console = console
        self._children: list[ChildProcess] = []
        self._first_event = asyncio.Event()
        self.audit_passed = True

    def prepare(self, stack: ExitStack) -> None:
        """Start the homes now: they take as long to start as the hub does."""
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
        self._print_addresses(run, administrator, link)
        async with (
            open_pool(settings, application_name="demo", max_size=2) as pool,
            httpx.AsyncClient(timeout=10) as http,
        ):
            watcher = DashboardWatcher(run.api_url, pool, http)
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
        """Show the table until the time is up."""
        try:
            async with asyncio.timeout(self._seconds) as limit, asyncio.TaskGroup() as tasks:
                tasks.create_task(watch(self._children))
                tasks.create_task(self._time_first_event(run, administrator))
                tasks.create_task(self._start_buyers())
                tasks.create_task(self._print_sign_ins())
                await (self._table if self._console.is_terminal else self._lines)(watcher)
        except TimeoutError:
            if not limit.expired():
                raise

    async def _start_buyers(self) -> None:
        """Start the buyers at the first event: until then the homes need all of the CPU time."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._first_event.wait(), _BUYERS_WAIT_MAX_S)
        self._simulate("buyers", _BUYERS)

    async def _print_sign_ins(self) -> None:
        """Print how one host and one buyer sign in, as soon as the simulators have created them."""
        for role, file in (("host", "fleet.json"), ("buyer", "buyers.json")):
            account = await _first_account(self._data / file)
            self._console.print(f"{role:<10} {account.email}  {account.password}")

    async def _time_first_event(self, run: RunFile, administrator: UserAccount) -> None:
        """Print how long it took until a socket received the first change of a listing."""
        since = float(os.environ.get(_SINCE) or psutil.Process().create_time())
        await _first_listing_updated(run, administrator)
        self._first_event.set()
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
