"""The people and devices of a fleet, as the hub knows them, and as a file remembers them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from random import SystemRandom
from typing import Any

from core.dialects import Dialect
from simulators import private_json
from simulators.administering import Administrator
from simulators.dialects.encoders import invent_name
from simulators.gather_or_raise import gather_or_raise
from simulators.homes import Dwelling, new_meters
from simulators.hosting import Registered, offer_surplus, register_device
from simulators.household import Meters
from simulators.hub_addresses import BrokerAddress
from simulators.hub_client import HubClient, HubRefusal, HubSession, UserAccount, invent_account
from simulators.link import Credentials

_OFFERED_FOR = timedelta(days=7)
_HOSTS_MAX = 20
_HOMES_PER_HOST = 5
_HOMES_PER_HOST_MAX = 100  # as many devices as one may have, unless the hub is told otherwise


@dataclass(slots=True)
class Resident:
    """A home, its owner's number, its device's credentials, and what its meters read."""

    dwelling: Dwelling
    owner: int
    registered: Registered
    meters: Meters


class Residents:
    """Settles homes at the hub. A second start finds everyone, and every meter, as they were.

    Without a path nobody is remembered. With an administrator new homes sell what they tell of from
    when they are settled on, also where that is past.
    """

    def __init__(
        self, hub: HubClient, path: Path | None, administrator: Administrator | None = None
    ) -> None:
        self._hub = hub
        self._path = path
        self._administrator = administrator
        known = (path and private_json.read(path)) or {"owners": [], "homes": {}}
        self.owners = [UserAccount(**account) for account in known["owners"]]
        self._homes: dict[str, dict[str, Any]] = known["homes"]
        self.settled: list[Resident] = []

    async def settle(
        self,
        dwellings: Sequence[Dwelling],
        now: datetime,
        dialects: Sequence[Dialect] = (Dialect.NATIVE,),
    ) -> None:
        """Homes that are new here speak one of the dialects after the other.

        Everyone signed in, every device registered, every surplus on offer. Raises HubError."""
        owners = await self._sign_in(_hosts_of(len(dwellings)))
        try:
            await gather_or_raise(
                self._settle(home, number, owners, now, dialects[number % len(dialects)])
                for number, home in enumerate(dwellings)
            )
        finally:
            self.save()

    async def _sign_in(self, count: int) -> list[HubSession]:
        """All owners who are remembered, and as many new ones as it takes."""
        try:
            sessions = await gather_or_raise(HubSession.sign_in(self._hub, a) for a in self.owners)
        except HubRefusal as refusal:
            if refusal.status != 401:
                raise
            # Another hub, or the same with an empty database: nobody is known there.
            self.owners, self._homes, sessions = [], {}, []
        fresh = [
            invent_account(f"Host {number + 1}", "host")
            for number in range(len(self.owners), count)
        ]
        sessions += await gather_or_raise(
            HubSession.register(self._hub, account) for account in fresh
        )
        self.owners += fresh
        return sessions

    async def _settle(
        self,
        dwelling: Dwelling,
        number: int,
        owners: Sequence[HubSession],
        now: datetime,
        dialect: Dialect,
    ) -> None:
        known = self._homes.get(dwelling.key)
        if known is None:
            resident = await self._move_in(dwelling, number % len(owners), owners, dialect)
            if self._administrator is not None:
                device_id = resident.registered.credentials.device_id
                await self._administrator.let_earn(device_id, now)
        else:
            resident = _remembered(dwelling, known)
        self.settled.append(resident)
        await offer_surplus(
            owners[resident.owner],
            resident.registered.credentials.device_id,
            price_per_kwh=dwelling.price_per_kwh,
            available_from=now,
            available_to=now + _OFFERED_FOR,
        )

    async def _move_in(
        self, dwelling: Dwelling, owner: int, owners: Sequence[HubSession], dialect: Dialect
    ) -> Resident:
        registered = await register_device(
            owners[owner],
            name=dwelling.name,
            kind="inverter",
            capacity_w=dwelling.capacity_w,
            place=dwelling.place,
            dialect=dialect,
            external_id=invent_name(dialect, SystemRandom()),
        )
        return Resident(dwelling, owner, registered, new_meters(dwelling))

    def save(self) -> None:
        """Remember who lives where, and what the meters read."""
        if self._path is None:
            return
        for resident in self.settled:
            self._homes[resident.dwelling.key] = {
                "owner": resident.owner,
                "credentials": asdict(resident.registered.credentials),
                "broker": asdict(resident.registered.broker),
                "meters": asdict(resident.meters),
            }
        owners = [asdict(account) for account in self.owners]
        private_json.write(self._path, {"owners": owners, "homes": self._homes})


def _hosts_of(homes: int) -> int:
    """Few, since each signs in by a hash that is meant to be slow."""
    hosts = min(_HOSTS_MAX, homes // _HOMES_PER_HOST)
    return max(1, hosts, -(-homes // _HOMES_PER_HOST_MAX))


def _remembered(dwelling: Dwelling, known: dict[str, Any]) -> Resident:
    registered = Registered(Credentials(**known["credentials"]), BrokerAddress(**known["broker"]))
    return Resident(dwelling, known["owner"], registered, Meters(**known["meters"]))
