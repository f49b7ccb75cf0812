"""What a check of the audit comes to."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One rule, and the ids of what breaks it."""

    name: str
    rule: str
    offending: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.offending
