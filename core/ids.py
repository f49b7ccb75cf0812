"""Ids, a type for each kind, so that a type checker finds one passed for another."""

from typing import NewType
from uuid import UUID

DeviceId = NewType("DeviceId", UUID)
ListingId = NewType("ListingId", UUID)
UserId = NewType("UserId", UUID)
