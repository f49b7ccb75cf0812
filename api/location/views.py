"""Addresses, and what is near a place, as clients see them.

Everybody but the user sees homes rounded to 0.01°, about a kilometre.
"""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from api.devices.views import DeviceKind, DeviceStatus, ShownFunded, ShownShare, ShownTarget
from api.http.fields import ShownInstant, View
from api.listings.views import ListingView
from core.ids import DeviceId, UserId
from db.nearby import NearbyDevice, NearbyUser

NeighbourRole = Literal["buyer", "host", "investor"]

DistanceKm = Annotated[
    float, Field(description="Great-circle distance in km, 3 decimals", examples=[1.204])
]
_ROUNDED = "WGS 84 degrees, rounded to 0.01°"
_ROUNDED_OF_OTHERS = "WGS 84 degrees; rounded to 0.01° unless the device is the user's own"


class AddressView(View):
    id: Annotated[UUID, Field(description="Unique id of the address")]
    label: Annotated[
        str, Field(description="Name that the user gave the address", examples=["home"])
    ]
    latitude: Annotated[
        float, Field(description="WGS 84 latitude in degrees, north positive", examples=[12.9716])
    ]
    longitude: Annotated[
        float, Field(description="WGS 84 longitude in degrees, east positive", examples=[77.5946])
    ]
    is_default: Annotated[
        bool, Field(description="true: used where a request names no place; one address is")
    ]
    created_at: ShownInstant


class PersonView(BaseModel):
    id: Annotated[UserId, Field(description="Unique id of the user")]
    full_name: str


class ListingDeviceView(BaseModel):
    id: Annotated[DeviceId, Field(description="Unique id of the device")]
    name: Annotated[str, Field(description="Name that the owner gave the device")]
    kind: Annotated[DeviceKind, Field(description="Kind of the device")]


class NearbyListingView(ListingView):
    distance_km: DistanceKm
    seller: Annotated[PersonView, Field(description="The seller of the energy")]
    device: Annotated[
        ListingDeviceView | None,
        Field(description="The device that measures the energy; null: the listing has none"),
    ]


class NearbyUserView(View):
    id: Annotated[UserId, Field(description="Unique id of the user")]
    full_name: str
    role: Annotated[NeighbourRole, Field(description="Role of the user")]
    latitude: Annotated[float, Field(description=_ROUNDED, examples=[12.97])]
    longitude: Annotated[float, Field(description=_ROUNDED, examples=[77.59])]
    distance_km: DistanceKm

    @classmethod
    def of(cls, user: NearbyUser) -> "NearbyUserView":
        view = cls.model_validate(user)
        return view.model_copy(update={"distance_km": round(user.distance_km, 3)})


class NearbyDeviceView(BaseModel):
    id: Annotated[DeviceId, Field(description="Unique id of the device")]
    name: Annotated[str, Field(description="Name that the owner gave the device")]
    kind: Annotated[DeviceKind, Field(description="Kind of the device")]
    capacity_w: Annotated[
        float, Field(description="Peak power of the device in W", examples=[5000])
    ]
    status: Annotated[DeviceStatus, Field(description="Status of the device now")]
    latitude: Annotated[float, Field(description=_ROUNDED_OF_OTHERS)]
    longitude: Annotated[float, Field(description=_ROUNDED_OF_OTHERS)]
    distance_km: DistanceKm
    funding_target: ShownTarget
    revenue_share: ShownShare
    funded: ShownFunded
    owner: Annotated[PersonView, Field(description="The host who owns the device")]

    @classmethod
    def of(cls, device: NearbyDevice) -> "NearbyDeviceView":
        return cls.model_validate(
            {
                "id": device.id,
                "name": device.name,
                "kind": device.kind,
                "capacity_w": device.capacity_w,
                "status": device.status,
                "latitude": device.latitude,
                "longitude": device.longitude,
                "distance_km": round(device.distance_km, 3),
                "funding_target": device.funding_target,
                "revenue_share": device.revenue_share,
                "funded": device.funded,
                "owner": {"id": device.owner_id, "full_name": device.owner_name},
            }
        )
