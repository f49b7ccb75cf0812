"""Routes of devices: register, list, get, change, remove, replace the MQTT password."""

from typing import Annotated, Self
from urllib.parse import urlsplit

from fastapi import Query
from pydantic import BaseModel, Field, model_validator

from api.devices import service as devices_service
from api.devices.service import own_device
from api.devices.views import (
    DeviceKind,
    DeviceView,
    MqttAccessView,
    MqttTopicsView,
    RegisteredDeviceView,
)
from api.http import routing
from api.http.cursors import NEWEST, PageQuery
from api.http.dependencies import ClockDep, CurrentUser, DevicePathId, Host, PoolDep, SettingsDep
from api.http.envelope import Answer, Page, created, ok
from api.http.errors import answers
from api.http.fields import (
    Body,
    JsonNumber,
    Money,
    Name,
    OptionalLatitude,
    OptionalLongitude,
    Reason,
    RevenueShare,
    TimeZone,
    check_together,
    without_default,
)
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
from db import devices
from db.devices import Device

router = routing.private("/devices", "devices")

_MQTT_PORTS = {"mqtt": 1883, "mqtts": 8883}

FundingTarget = Annotated[
    Money,
    Field(
        description="Money that investors can put into the device, INR, at most 2 decimals; "
        "string or number"
    ),
]
Capacity = Annotated[
    float,
    Field(
        gt=0,
        le=1e9,
        allow_inf_nan=False,
        description="Peak power of the device in W",
        examples=[5000],
    ),
    JsonNumber,
]
_NAME = Field(description="Name that the owner gives the device", examples=["Roof"])


class DeviceRegistration(Body):
    name: Annotated[Name, _NAME]
    kind: Annotated[DeviceKind, Field(description="Kind of the device")]
    capacity_w: Capacity
    latitude: OptionalLatitude = None
    longitude: OptionalLongitude = None
    dialect: Annotated[
        Dialect,
        Field(description="Format in which the device publishes over MQTT", examples=["opendtu"]),
    ] = Dialect.NATIVE
    external_id: Annotated[
        Name | None,
        Field(
            description="Serial number, id or topic name of the device in its own firmware; "
            "required unless the dialect is `native`",
            examples=["114182940773"],
        ),
    ] = None
    time_zone: TimeZone = "Asia/Kolkata"
    funding_target: FundingTarget | None = None
    revenue_share: RevenueShare | None = None

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        check_together(latitude=self.latitude, longitude=self.longitude)
        check_together(funding_target=self.funding_target, revenue_share=self.revenue_share)
        fault = external_id_fault(self.dialect, self.external_id)
        if fault is not None:
            raise Invalid(field="external_id", allowed=fault)
        return self


class DeviceChange(Body):
    """The fields to change. Fields that are not given stay as they are.

    null removes the place, or the offer to investors.
    """

    # The defaults are never read: only fields that were sent are changed.
    name: Annotated[Name, _NAME, Field(json_schema_extra=without_default)] = ""
    capacity_w: Annotated[
        Capacity,
        Field(
            description="Peak power of the device in W; fixed by the first accounted reading",
            json_schema_extra=without_default,
        ),
    ] = 1
    latitude: OptionalLatitude = None
    longitude: OptionalLongitude = None
    funding_target: FundingTarget | None = None
    revenue_share: RevenueShare | None = None
    time_zone: Annotated[TimeZone, Field(json_schema_extra=without_default)] = "Asia/Kolkata"
    reason: Annotated[
        Reason | None,
        Field(description="Reason for the record, if an administrator changes the device"),
    ] = None


class RemovalQuery(BaseModel):
    reason: Annotated[
        Reason | None,
        Field(description="Reason for the record, if an administrator removes the device"),
    ] = None


@router.post(
    "",
    status_code=201,
    response_description="The device, and its credentials at the broker",
    responses=answers(Forbidden, ExternalIdTaken, QuotaExceeded),
)
async def register_device(
    pool: PoolDep, settings: SettingsDep, host: Host, body: DeviceRegistration
) -> Answer[RegisteredDeviceView]:
    """Register a device of the host.

    The response shows the device's MQTT password. No later response does.
    """
    device, password = await devices_service.register(pool, settings, host, body.model_dump())
    access = _mqtt_access(settings.mqtt_public_url, device, password)
    view = DeviceView.model_validate(device)
    return created(RegisteredDeviceView(**dict(view), mqtt=access))


@router.get("", response_description="A page of devices")
async def list_devices(
    pool: PoolDep, caller: CurrentUser, query: Annotated[PageQuery, Query()]
) -> Answer[Page[DeviceView]]:
    """List the devices of the user, newest first.

    Administrators get the devices of all users.
    """
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


@router.get(
    "/{device_id}", response_description="The requested device", responses=answers(NotFound)
)
async def get_device(
    pool: PoolDep, caller: CurrentUser, device_id: DevicePathId
) -> Answer[DeviceView]:
    """Get a device of the user.

    Administrators can get every device.
    """
    async with pool.acquire() as conn:
        device = await own_device(conn, caller, device_id)
    return ok(DeviceView.model_validate(device))


@router.patch(
    "/{device_id}",
    response_description="The device after the change",
    responses=answers(NotFound, CapacityFixed, FundingTermsFixed),
)
async def change_device(
    pool: PoolDep,
    settings: SettingsDep,
    clock: ClockDep,
    caller: CurrentUser,
    device_id: DevicePathId,
    body: DeviceChange,
) -> Answer[DeviceView]:
    """Change name, place, time zone, capacity or funding terms of a device.

    The first accounted reading fixes the capacity, the first investment the funding terms.
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


@router.delete(
    "/{device_id}",
    response_description="Confirmation without data",
    responses=answers(NotFound, DeviceFunded, DeviceFrozen),
)
async def remove_device(
    pool: PoolDep,
    caller: CurrentUser,
    device_id: DevicePathId,
    query: Annotated[RemovalQuery, Query()],
) -> Answer[None]:
    """Remove a device for good.

    The device can't connect any more, and its open listings are cancelled. What it measured and
    sold stays on record: a later registration of the same meter continues from there. Only an
    administrator can remove a device that has investors or is frozen.
    """
    await devices_service.remove(pool, caller, device_id, reason=query.reason)
    return ok(None)


@router.post(
    "/{device_id}/credentials",
    response_description="The new credentials of the device at the broker",
    responses=answers(Forbidden, NotFound),
)
async def replace_credentials(
    pool: PoolDep, settings: SettingsDep, host: Host, device_id: DevicePathId
) -> Answer[MqttAccessView]:
    """Replace the MQTT password of a device.

    The response shows the new password once. The old password stops working.
    """
    device, password = await devices_service.replace_password(pool, settings, host, device_id)
    return ok(_mqtt_access(settings.mqtt_public_url, device, password))


def _mqtt_access(broker_url: str, device: Device, password: str) -> MqttAccessView:
    broker = urlsplit(broker_url)
    topics = topics_of(device.id, Dialect(device.dialect), device.external_id)
    return MqttAccessView(
        host=broker.hostname or "",
        port=broker.port or _MQTT_PORTS[broker.scheme],
        username=str(device.id),
        password=password,
        topics=MqttTopicsView.model_validate(topics),
    )
