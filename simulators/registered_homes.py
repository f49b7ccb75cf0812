"""The homes of a fleet at the hub: owners, devices, listings, and a file that remembers them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import SystemRandom
from typing import Any

from core.dialects import Dialect
from simulators import private_json
from simulators.device_connection import Credentials
from simulators.dialects.encoders import random_name
from simulators.gather_or_raise import gather_or_raise
from simulators.homes import HomeSpec, new_meters
from simulators.household import Meters
from simulators.hub_client import (
    BrokerAddress,
    HubClient,
    HubRefusal,
    HubSession,
    UserAccount,
    invent_account,
)
from simulators.registration import (
    Administrator,
    RegisteredDevice,
    offer_surplus,
    register_device,
)

_OFFERED_FOR = timedelta(days=30)
# Around the price that a home would fix.
_FLOOR_PART, _CAP_PART = Decimal("0.5"), Decimal("1.5")
_HOSTS_MAX = 20
_HOMES_PER_HOST = 5
# The hub's default quota of devices per user.
_HOMES_PER_HOST_MAX = 100


@dataclass(slots=True)
class RegisteredHome:
    """A home at the hub: the index of its owner, its device, and its meters."""

    spec: HomeSpec
    owner: int
    device: RegisteredDevice
    meters: Meters
    # Registered in this run: its meter has not reported anything yet.
    is_new: bool = False


class RegisteredHomes:
    """Registers homes at the hub; with a `path`, the next run finds the same homes and meters.

    With an administrator, new homes may sell energy from the time at which they start, even if
    that is in the past.
    """

    def __init__(
        self, hub: HubClient, path: Path | None, administrator: Administrator | None = None
    ) -> None:
        self._hub = hub
        self._path = path
        self._administrator = administrator
        stored = (path and private_json.read(path)) or {"owners": [], "homes": {}}
        self.owners = [UserAccount(**account) for account in stored["owners"]]
        self._stored_homes: dict[str, dict[str, Any]] = stored["homes"]
        self.registered: list[RegisteredHome] = []

    async def register(
        self,
        specs: Sequence[HomeSpec],
        now: datetime,
        dialects: Sequence[Dialect] = (Dialect.NATIVE,),
        *,
        fixed_every: int = 1,
    ) -> None:
        """Sign owners in, register devices, open listings; reuse what exists already.

        New homes get the dialects one after the other. Every n-th, by `fixed_every`, sells at a
        fixed price, the others at the dynamic one. Raises HubClientError.
        """
        owners = await self._sign_in(_hosts_of(len(specs)))
        try:
            await gather_or_raise(
                self._register(
                    spec,
                    number,
                    owners,
                    now,
                    dialects[number % len(dialects)],
                    is_dynamic=number % fixed_every != 0,
                )
                for number, spec in enumerate(specs)
            )
        finally:
            self.save()

    async def _sign_in(self, count: int) -> list[HubSession]:
        """Sign in all stored owners, and register new ones up to `count`."""
        try:
            sessions = await gather_or_raise(HubSession.sign_in(self._hub, a) for a in self.owners)
        except HubRefusal as refusal:
            if refusal.status != 401:
                raise
            # This is another hub, or its database was emptied: nothing that is stored exists there.
            self.owners, self._stored_homes, sessions = [], {}, []
        new_owners = [
            invent_account(f"Host {number + 1}", "host")
            for number in range(len(self.owners), count)
        ]
        sessions += await gather_or_raise(
            HubSession.register(self._hub, account) for account in new_owners
        )
        self.owners += new_owners
        return sessions

    async def _register(
        self,
        spec: HomeSpec,
        number: int,
        owners: Sequence[HubSession],
        now: datetime,
        dialect: Dialect,
        *,
        is_dynamic: bool,
    ) -> None:
        stored = self._stored_homes.get(spec.key)
        if stored is None:
            home = await self._register_new(spec, number % len(owners), owners, dialect)
            if self._administrator is not None:
                await self._administrator.allow_earning(home.device.credentials.device_id, now)
        else:
            home = _restored(spec, stored)
        self.registered.append(home)
        await offer_surplus(
            owners[home.owner],
            home.device.credentials.device_id,
            pricing=_dynamic(spec) if is_dynamic else {"price_per_kwh": spec.price_per_kwh},
            available_from=now,
            available_to=now + _OFFERED_FOR,
        )

    async def _register_new(
        self, spec: HomeSpec, owner: int, owners: Sequence[HubSession], dialect: Dialect
    ) -> RegisteredHome:
        device = await register_device(
            owners[owner],
            name=spec.name,
            kind="inverter",
            capacity_w=spec.capacity_w,
            place=spec.place,
            dialect=dialect,
            external_id=random_name(dialect, SystemRandom()),
        )
        return RegisteredHome(spec, owner, device, new_meters(spec), is_new=True)

    def save(self) -> None:
        """Store owners, credentials and meters, if there is a path."""
        if self._path is None:
            return
        for home in self.registered:
            self._stored_homes[home.spec.key] = {
                "owner": home.owner,
                "credentials": asdict(home.device.credentials),
                "broker": asdict(home.device.broker),
                "meters": asdict(home.meters),
            }
        owners = [asdict(account) for account in self.owners]
        private_json.write(self._path, {"owners": owners, "homes": self._stored_homes})


def _dynamic(spec: HomeSpec) -> dict[str, str]:
    """Return the terms of a listing whose price may be half as high again, or half as low."""
    price = Decimal(spec.price_per_kwh)
    return {
        "pricing": "dynamic",
        "price_per_kwh": spec.price_per_kwh,
        "price_floor": f"{price * _FLOOR_PART:.2f}",
        "price_cap": f"{price * _CAP_PART:.2f}",
    }


def _hosts_of(homes: int) -> int:
    """Return the number of owners: few, because each sign-in costs a slow password hash."""
    hosts = min(_HOSTS_MAX, homes // _HOMES_PER_HOST)
    return max(1, hosts, -(-homes // _HOMES_PER_HOST_MAX))


def _restored(spec: HomeSpec, stored: dict[str, Any]) -> RegisteredHome:
    broker = BrokerAddress(**stored["broker"])
    device = RegisteredDevice(Credentials(**stored["credentials"]), broker)
    return RegisteredHome(spec, stored["owner"], device, Meters(**stored["meters"]))
