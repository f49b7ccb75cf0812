"""What simulated devices need an administrator for: to sell what they tell of the past.

A hub lets energy be sold from a device's registration on, and devices of any usual size. Whoever
simulates the past, or recorded plants, has the hub's administrator lift both, on record.
"""

from dataclasses import dataclass
from datetime import datetime

from core.units import rfc3339
from simulators.hub_client import HubClient, HubSession, UserAccount

NEEDED = (
    "without an administrator of the hub, energy from before a device's registration is recorded,"
    " but can't be sold: set SOLARHUB_ADMIN_EMAIL and SOLARHUB_ADMIN_PASSWORD to have it sold"
)
_REASON = "A simulated device, which tells of the past"


@dataclass(frozen=True, slots=True)
class Administrator:
    """Signed in at the hub."""

    session: HubSession

    @classmethod
    async def sign_in(cls, hub: HubClient, account: UserAccount | None) -> "Administrator | None":
        """None: there is no account of one. Raises HubError."""
        return None if account is None else cls(await HubSession.sign_in(hub, account))

    async def let_earn(self, device_id: str, earns_from: datetime) -> None:
        """Let a device sell what it tells of from `earns_from` on, however large it is."""
        body = {
            "earns_from": rfc3339(earns_from),
            "capacity_approved": True,
            "reason": _REASON,
        }
        await self.session.patch(f"admin/devices/{device_id}", body)
