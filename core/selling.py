"""Whether a device may sell at all, whatever its meter and its battery say."""

from dataclasses import dataclass

from core.errors import CapacityNotApproved, Conflict, DeviceFlagged, DeviceFrozen


@dataclass(frozen=True, slots=True)
class SellingRules:
    """The operator's. `capacity_max_w`: larger devices sell once an administrator has approved
    their capacity. `flags_pause_selling`: flagged ones don't, until one has confirmed."""

    capacity_max_w: float = 20_000
    flags_pause_selling: bool = False


USUAL_RULES = SellingRules()


@dataclass(frozen=True, slots=True)
class Standing:
    """What a device's capacity is, and what was decided of it."""

    capacity_w: float
    capacity_approved: bool = False
    frozen: bool = False
    flagged: bool = False

    def obstacle(self, rules: SellingRules) -> Conflict | None:
        """Why it may not sell; None: it may."""
        if self.frozen:
            return DeviceFrozen()
        if self.capacity_w > rules.capacity_max_w and not self.capacity_approved:
            return CapacityNotApproved(capacity_max_w=f"{rules.capacity_max_w:,.0f}")
        if self.flagged and rules.flags_pause_selling:
            return DeviceFlagged()
        return None
