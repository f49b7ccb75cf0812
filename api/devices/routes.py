"""Routes: devices of the caller's, and what they measured."""

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, Field, model_validator

from api.devices import service as devices_service
from api.devices.service import own_device
from api.http import routing
from api.http.cursors import NEWEST, PageQuery
from api.http.dependencies import ClockDep, CurrentUser, DevicePathId, Host, PoolDep, SettingsDep
from api.http.envelope import Answer, Page, created, ok
from api.http.errors import answers
from api.http.fields import (
    Body,
    JsonNumber,
    Latitude,
    Longitude,
    Money,
    Name,
    Reason,
    RevenueShare,
    ShownInstant,
    TimeZone,
    View,
    check_together,
    without_default,
)
from api.views import ShownFunded, ShownShare, ShownTarget
from core.dialects import Dialect, external_id_fault, topics_of
from core.enums import UserRole
from core.errors import (
    CapacityFixed,
    DeviceFrozen,
    DeviceFunded,
    ExternalIdTaken,
    Forbidden,
    FundingTermsFixed,
    Invalid,
    NotFound,
    QuotaExceeded,
)
from core.ids import UserId
from db import devices
from db.devices import Device

router = routing.private("/devices", "devices")

_MQTT_PORTS = {"mqtt": 1883, "mqtts": 8883}

FundingTarget = Annotated[
    Money,
    Field(description="What investors may put into it, INR, at most 2 decimals; string or number"),
]
Capacity = Annotated[
    float,
    Field(gt=0, le=1e9, allow_inf_nan=False, description="Peak power, W", examples=[5000]),
    JsonNumber,
]


class DeviceRegistration(Body):
    name: Annotated[Name, Field(examples=["Roof"])]
    kind: Literal["inverter", "meter", "battery"]
    capacity_w: Capacity
    latitude: Latitude | None = None
    longitude: Longitude | None = None
    dialect: Annotated[
        Dialect, Field(description="What it speaks over MQTT", examples=["opendtu"])
    ] = Dialect.NATIVE
    external_id: Annotated[
        Name | None,
        Field(
            description="Its serial, id or topic name; required unless native",
            examples=["114182940773"],
        ),
    ] = None
    time_zone: TimeZone = "Asia/Kolkata"
    funding_target: FundingTarget | None = None
    revenue_share: RevenueShare | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        check_together(latitude=self.latitude, longitude=self.longitude)
        check_together(funding_target=self.funding_target, revenue_share=self.revenue_share)
        fault = external_id_fault(self.dialect, self.external_id)
        if fault is not None:
            raise Invalid(field="external_id", allowed=fault)
        return self


class DeviceChange(Body):
    """Only what is given changes; null takes the place, or the offer to investors, away."""

    name: Annotated[Name, Field(examples=["Roof"], json_schema_extra=without_default)] = ""
    capacity_w: Annotated[
        Capacity,
        Field(
            description="Peak power, W; until the first reading", json_schema_extra=without_default
        ),
    ] = 1
    latitude: Latitude | None = None
    longitude: Longitude | None = None
    funding_target: FundingTarget | None = None
    revenue_share: RevenueShare | None = None
    time_zone: Annotated[TimeZone, Field(json_schema_extra=without_default)] = "Asia/Kolkata"
    reason: Annotated[
        Reason | None, Field(description="Why, of an administrator's change: it goes on record")
    ] = None


class RemovalQuery(BaseModel):
    reason: Annotated[
        Reason | None, Field(description="Why, if an administrator removes it: it goes on record")
    ] = None


class DeviceView(View):
    id: UUID
    owner_id: UserId
    name: str
    kind: str
    capacity_w: Annotated[float, Field(description="Peak power, W")]
    latitude: float | None
    longitude: float | None
    dialect: str
    external_id: str | None
    time_zone: str
    status: Literal["pending", "online", "offline", "fault"]
    fault_code: str | None
    last_seen_at: ShownInstant | None
    earns_from: Annotated[
        ShownInstant,
        Field(description="Energy from before it is recorded, and can't be sold"),
    ]
    capacity_approved: Annotated[
        bool, Field(description="By an administrator: above `CAPACITY_MAX_W` it can't sell without")
    ]
    frozen: Annotated[bool, Field(description="By an administrator: it can't sell")]
    funding_target: ShownTarget
    revenue_share: ShownShare
    funded: ShownFunded
    created_at: ShownInstant


class TopicsView(View):
    telemetry: Annotated[str, Field(description="Where its readings come from; may be a filter")]
    status: Annotated[str, Field(description="Where its presence comes from; may be a filter")]
    ack: Annotated[str, Field(description="Where it is told what was refused")]
    command: Annotated[str, Field(description="Where it takes orders; may be a filter")]
    publish: Annotated[list[str], Field(description="All that it may publish under: filters")]
    read: Annotated[list[str], Field(description="All that it may subscribe to: filters")]


class MqttAccess(BaseModel):
    host: str
    port: int
    username: str
    password: Annotated[str, Field(description="Shown once: only its hash is kept")]
    topics: TopicsView


class RegisteredDeviceView(DeviceView):
    mqtt: MqttAccess


@router.post("", status_code=201, responses=answers(Forbidden, ExternalIdTaken, QuotaExceeded))
async def register_device(
    pool: PoolDep, settings: SettingsDep, host: Host, body: DeviceRegistration
) -> Answer[RegisteredDeviceView]:
    """Register a device. A host's; the answer says, once, how it signs in to the broker."""
    device, password = await devices_service.register(pool, settings, host, body.model_dump())
    access = _mqtt_access(settings.mqtt_public_url, device, password)
    shown = dict(DeviceView.model_validate(device))
    return created(RegisteredDeviceView(**shown, mqtt=access))


@router.get("")
async def list_devices(
    pool: PoolDep, caller: CurrentUser, query: Annotated[PageQuery, Query()]
) -> Answer[Page[DeviceView]]:
    """The caller's devices, newest first; an admin's: all."""
    owner_id = None if caller.role is UserRole.ADMIN else caller.user_id
    before = NEWEST.read(query.cursor)
    async with pool.acquire() as conn:
        found = await devices.newest(conn, owner_id, before=before, limit=query.limit + 1)
    return ok(
        NEWEST.page(
            found,
            query.limit,
            key=lambda device: (device.created_at, device.id),
            show=DeviceView.model_validate,
        )
    )


@router.get("/{device_id}", responses=answers(NotFound))
async def get_device(
    pool: PoolDep, caller: CurrentUser, device_id: DevicePathId
) -> Answer[DeviceView]:
    """A device of the caller's."""
    async with pool.acquire() as conn:
        device = await own_device(conn, caller, device_id)
    return ok(DeviceView.model_validate(device))


@router.patch("/{device_id}", responses=answers(NotFound, CapacityFixed, FundingTermsFixed))
async def change_device(
    pool: PoolDep,
    settings: SettingsDep,
    clock: ClockDep,
    caller: CurrentUser,
    device_id: DevicePathId,
    body: DeviceChange,
) -> Answer[DeviceView]:
    """Change what a device is called, where it and its clock are, and what investors are offered.

    Its capacity is fixed by the first reading, its funding terms by the first investment.
    """
    wanted = {field: getattr(body, field) for field in body.model_fields_set - {"reason"}}
    device = await devices_service.change(
        pool,
        caller,
        device_id,
        wanted,
        rules=settings.selling_rules,
        reason=body.reason,
        clock=clock,
    )
    return ok(DeviceView.model_validate(device))


@router.delete("/{device_id}", responses=answers(NotFound, DeviceFunded, DeviceFrozen))
async def remove_device(
    pool: PoolDep,
    caller: CurrentUser,
    device_id: DevicePathId,
    query: Annotated[RemovalQuery, Query()],
) -> Answer[None]:
    """Remove a device for good: it can't sign in any more, and its open listings are cancelled.

    What it measured and sold stays on the books, and whoever registers the same meter again goes
    on from there. One that others invested in, or that is frozen, only an administrator removes.
    """
    await devices_service.remove(pool, caller, device_id, reason=query.reason)
    return ok(None)


@router.post("/{device_id}/credentials", responses=answers(Forbidden, NotFound))
async def replace_credentials(
    pool: PoolDep, settings: SettingsDep, host: Host, device_id: DevicePathId
) -> Answer[MqttAccess]:
    """Give a device a new password, shown once; the old one stops working. A host's."""
    device, password = await devices_service.replace_password(pool, settings, host, device_id)
    return ok(_mqtt_access(settings.mqtt_public_url, device, password))


def _mqtt_access(broker_url: str, device: Device, password: str) -> MqttAccess:
    broker = urlsplit(broker_url)
    topics = topics_of(device.id, Dialect(device.dialect), device.external_id)
    return MqttAccess(
        host=broker.hostname or "",
        port=broker.port or _MQTT_PORTS[broker.scheme],
        username=str(device.id),
        password=password,
        topics=TopicsView.model_validate(topics),
    )
