"""Requests that set up simulated devices: register, offer surplus, allow past energy to be sold.

By default a hub sells a device's energy from its registration on, and only for devices of usual
size. Simulators of the past and of large recorded plants let an administrator lift both limits.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from core.dialects import Dialect
from core.units import rfc3339
from simulators.device_connection import Credentials
from simulators.hub_client import BrokerAddress, HubClient, HubRefusal, HubSession, UserAccount
from simulators.places import Locality

ADMINISTRATOR_NEEDED = (
    "without an administrator of the hub, energy from before a device's registration is recorded,"
    " but cannot be sold: set SOLARHUB_ADMIN_EMAIL and SOLARHUB_ADMIN_PASSWORD to have it sold"
)
_REASON = "A simulated device that reports past readings"


@dataclass(frozen=True, slots=True)
class RegisteredDevice:
    """Credentials of a registered device, and the broker to which it publishes."""

    credentials: Credentials
    broker: BrokerAddress


async def register_device(
    host: HubSession,
    *,
    name: str,
    kind: str,
    capacity_w: float,
    place: Locality,
    dialect: Dialect = Dialect.NATIVE,
    external_id: str | None = None,
) -> RegisteredDevice:
    body: dict[str, object] = {
        "name": name,
        "kind": kind,
        "capacity_w": capacity_w,
        "latitude": place.latitude,
        "longitude": place.longitude,
        "dialect": dialect,
    }
    if external_id is not None:
        body["external_id"] = external_id
    device = await host.post("devices", body)
    mqtt = device["mqtt"]
    credentials = Credentials(mqtt["username"], mqtt["password"], dialect, external_id)
    return RegisteredDevice(credentials, BrokerAddress(mqtt["host"], mqtt["port"]))


async def offer_surplus(
    host: HubSession,
    device_id: str,
    *,
    pricing: Mapping[str, str],
    available_from: datetime,
    available_to: datetime,
) -> str | None:
    """Open a listing that follows the device's meter; return its id, or None if one is open.

    `pricing` holds the fields of the price, of the floor and of the cap.
    """
    body = {
        "device_id": device_id,
        "auto_adjust": True,
        **pricing,
        "available_from": rfc3339(available_from),
        "available_to": rfc3339(available_to),
    }
    try:
        listing = await host.post("marketplace/listings", body)
    except HubRefusal as refusal:
        if refusal.code == "open_listing_exists":
            return None
        raise
    return str(listing["id"])


@dataclass(frozen=True, slots=True)
class Administrator:
    """A signed-in administrator of the hub."""

    session: HubSession

    @classmethod
    async def sign_in(cls, hub: HubClient, account: UserAccount | None) -> "Administrator | None":
        """Sign in; return None without an account. Raises HubClientError."""
        return None if account is None else cls(await HubSession.sign_in(hub, account))

    async def allow_earning(self, device_id: str, earns_from: datetime) -> None:
        """Let a device sell its energy from `earns_from` on, whatever its capacity."""
        body = {
            "earns_from": rfc3339(earns_from),
            "capacity_approved": True,
            "reason": _REASON,
        }
        await self.session.patch(f"admin/devices/{device_id}", body)
