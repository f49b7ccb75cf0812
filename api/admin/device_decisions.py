"""Routes of decisions on devices, of flags, and of the record of administrators' actions."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from fastapi import Query
from pydantic import ConfigDict, Field, model_validator

from api.admin import service as admin_service
from api.admin.service import Decision
from api.devices.views import DeviceView
from api.http import routing
from api.http.cursors import NEWEST_ID, IdPageQuery
from api.http.dependencies import Admin, ClockDep, DevicePathId, PoolDep, SettingsDep
from api.http.envelope import Answer, Page, ok
from api.http.errors import answers
from api.http.fields import Body, Flag, Instant, Reason, ShownInstant, View, without_default
from core.enums import FlagState
from core.errors import Forbidden, Invalid, NotFound
from core.flags import FlagKind
from core.ids import DeviceId, UserId
from db import admin_actions, devices, flags
from db.pool import Connection

router = routing.private("/admin", "admin")

_FLAGS_MAX = 100


class DeviceDecision(Body):
    """A decision on a device. Fields that are not given stay as they are.

    Confirming a flag records that an administrator looked into it.
    """

    model_config = ConfigDict(json_schema_extra={"minProperties": 2})

    reason: Reason
    # The defaults are never read: only fields that were sent are changed.
    capacity_approved: Annotated[
        Flag,
        Field(
            description="true: the device may sell although it is above `CAPACITY_MAX_W`",
            json_schema_extra=without_default,
        ),
    ] = False
    frozen: Annotated[
        Flag,
        Field(
            description="true: the device can't sell, and its owner can't remove it",
            json_schema_extra=without_default,
        ),
    ] = False
    earns_from: Annotated[
        Instant,
        Field(
            description="Time from which the energy can be sold, rounded down to the 15-minute "
            "slot; not after the registration, nor before energy that was accounted under an "
            "earlier registration of the meter",
            json_schema_extra=without_default,
        ),
    ] = datetime(2000, 1, 1, tzinfo=UTC)
    flags_confirmed: Annotated[
        list[FlagKind],
        Field(
            default_factory=list,
            min_length=1,
            max_length=len(FlagKind),
            description="Kinds of open flags of the device to confirm",
            examples=[["night_generation"]],
            json_schema_extra=without_default,
        ),
    ]

    @model_validator(mode="after")
    def _check_not_empty(self) -> Self:
        if not self.model_fields_set - {"reason"}:
            fields = ", ".join(name for name in type(self).model_fields if name != "reason")
            raise Invalid(field="body", allowed=f"must hold at least one of {fields}")
        return self


class FlagView(View):
    """Suspicious energy of a device."""

    id: Annotated[int, Field(description="Unique number of the flag, rising with each flag")]
    device_id: DeviceId
    device_name: Annotated[str, Field(description="Name that the owner gave the device")]
    device_removed: Annotated[bool, Field(description="true: the owner removed the device since")]
    owner_id: UserId
    kind: Annotated[FlagKind, Field(description="Kind of the suspicion")]
    state: Annotated[
        Literal["open", "confirmed"],
        Field(description="`confirmed`: an administrator looked into the flag"),
    ]
    energy_wh: Annotated[float, Field(description="Energy that the flag is about, in Wh")]
    evidence: Annotated[
        dict[str, Any],
        Field(description="Figures and times that raised the flag; they depend on the kind"),
    ]
    created_at: Annotated[ShownInstant, Field(description="Time at which the flag was raised")]
    updated_at: Annotated[ShownInstant, Field(description="Time of the newest evidence")]
    confirmed_at: Annotated[
        ShownInstant | None, Field(description="Time of the confirmation; null: the flag is open")
    ]
    confirmed_by: Annotated[
        UserId | None, Field(description="Unique id of the administrator who confirmed the flag")
    ]


class FlagQuery(IdPageQuery):
    state: Annotated[
        Literal["open", "confirmed"] | None, Field(description="Only flags in this state")
    ] = None
    device_id: Annotated[DeviceId | None, Field(description="Only flags of this device")] = None


class AdminDeviceView(DeviceView):
    flags: Annotated[
        list[FlagView],
        Field(description=f"Flags of the device, newest first, {_FLAGS_MAX} at most"),
    ]


class AdminActionView(View):
    id: Annotated[int, Field(description="Unique number of the action, rising with each action")]
    admin_id: Annotated[UserId, Field(description="Unique id of the administrator")]
    admin_email: Annotated[
        str | None, Field(description="Email of the administrator; null: the user was removed")
    ]
    action: Annotated[str, Field(description="Name of the action", examples=["device.decided"])]
    subject_kind: Annotated[
        str, Field(description="Kind of the subject, a user or a device", examples=["device"])
    ]
    subject_id: Annotated[UUID, Field(description="Unique id of the user or device")]
    subject_name: Annotated[
        str | None, Field(description="Name of the user or device; null: it was removed")
    ]
    before: Annotated[
        dict[str, Any], Field(description="Values before the action of the fields that changed")
    ]
    after: Annotated[
        dict[str, Any], Field(description="Values after the action of the fields that changed")
    ]
    reason: Annotated[
        str | None, Field(description="Reason that the administrator gave; null: none")
    ]
    created_at: Annotated[ShownInstant, Field(description="Time of the action")]


class ActionQuery(IdPageQuery):
    subject_id: Annotated[UUID | None, Field(description="Only actions on this user or device")] = (
        None
    )


@router.get(
    "/devices/{device_id}",
    response_description="The device and its flags",
    responses=answers(Forbidden, NotFound),
)
async def get_any_device(
    pool: PoolDep, _: Admin, device_id: DevicePathId
) -> Answer[AdminDeviceView]:
    """Get a device with the decisions on it and its flags.

    Removed devices can be read, too.
    """
    async with pool.acquire() as conn:
        return ok(await _device_view(conn, device_id))


@router.patch(
    "/devices/{device_id}",
    response_description="The device after the decision, and its flags",
    responses=answers(Forbidden, NotFound),
)
async def decide_on_device(
    pool: PoolDep,
    settings: SettingsDep,
    clock: ClockDep,
    admin: Admin,
    device_id: DevicePathId,
    body: DeviceDecision,
) -> Answer[AdminDeviceView]:
    """Decide on a device: approve its capacity, freeze it, let it earn from earlier, confirm flags.

    The decision is recorded with its reason. The device's listings pause or resume accordingly, and
    its metered listing follows what the device has earned.
    """
    fields = {name: getattr(body, name) for name in body.model_fields_set}
    fields["flags_confirmed"] = tuple(body.flags_confirmed)
    await admin_service.decide(
        pool, admin, device_id, Decision(**fields), settings.selling_rules, clock
    )
    async with pool.acquire() as conn:
        return ok(await _device_view(conn, device_id))


@router.get("/flags", response_description="A page of flags", responses=answers(Forbidden))
async def list_flags(
    pool: PoolDep, _: Admin, query: Annotated[FlagQuery, Query()]
) -> Answer[Page[FlagView]]:
    """List the flags of suspicious energy of devices, newest first."""
    before_id = NEWEST_ID.read(query.cursor)
    async with pool.acquire() as conn:
        found = await flags.newest(
            conn,
            before_id=before_id,
            limit=query.limit + 1,
            state=FlagState(query.state) if query.state else None,
            device_id=query.device_id,
        )
    return ok(
        NEWEST_ID.page(found, query.limit, key=lambda flag: flag.id, show=FlagView.model_validate)
    )


@router.get("/actions", response_description="A page of actions", responses=answers(Forbidden))
async def list_admin_actions(
    pool: PoolDep, _: Admin, query: Annotated[ActionQuery, Query()]
) -> Answer[Page[AdminActionView]]:
    """List the actions of administrators, newest first."""
    before_id = NEWEST_ID.read(query.cursor)
    async with pool.acquire() as conn:
        found = await admin_actions.newest(
            conn, query.subject_id, before_id=before_id, limit=query.limit + 1
        )
    return ok(
        NEWEST_ID.page(
            found, query.limit, key=lambda action: action.id, show=AdminActionView.model_validate
        )
    )


async def _device_view(conn: Connection, device_id: DeviceId) -> AdminDeviceView:
    device = await devices.by_id(conn, device_id, removed=True)
    if device is None:
        raise NotFound(what="device")
    found = await flags.newest(
        conn, before_id=NEWEST_ID.read(None), limit=_FLAGS_MAX, device_id=device_id
    )
    view = DeviceView.model_validate(device)
    return AdminDeviceView(**dict(view), flags=[FlagView.model_validate(flag) for flag in found])
