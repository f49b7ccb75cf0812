"""Rules on whether a device may sell, whatever its meter and its battery report."""

from dataclasses import dataclass

from core.errors import CapacityNotApproved, Conflict, DeviceFlagged, DeviceFrozen


@dataclass(frozen=True, slots=True)
class SellingRules:
    """The operator's rules on devices that sell."""

    # A larger device sells only after an administrator has approved its capacity.
    capacity_max_w: float = 20_000
    # A flagged device sells only after an administrator has confirmed its flags.
    flags_pause_selling: bool = False


DEFAULT_RULES = SellingRules()


@dataclass(frozen=True, slots=True)
class SellingStatus:
    """A device's capacity, and the decisions about the device."""

    capacity_w: float
    capacity_approved: bool = False
    frozen: bool = False
    flagged: bool = False

    def refusal(self, rules: SellingRules) -> Conflict | None:
        """Return the reason why the device may not sell, or None if it may."""
        if self.frozen:
            return DeviceFrozen()
        if self.capacity_w > rules.capacity_max_w and not self.capacity_approved:
            return CapacityNotApproved(capacity_max_w=f"{rules.capacity_max_w:,.0f}")
        if self.flagged and rules.flags_pause_selling:
            return DeviceFlagged()
        return None
