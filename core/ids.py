"""Types of ids: a type checker rejects an id of one kind where another is expected."""

from typing import NewType
from uuid import UUID

DeviceId = NewType("DeviceId", UUID)
ListingId = NewType("ListingId", UUID)
UserId = NewType("UserId", UUID)
