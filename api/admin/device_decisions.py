"""Routes: what administrators see and decide of devices; the record of what they did."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from fastapi import Query
from pydantic import ConfigDict, Field, model_validator

from api.admin import service as admin_service
from api.admin.service import Decision
from api.devices.routes import DeviceView
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

_FLAGS_SHOWN = 100


class DeviceDecision(Body):
    """Only what is given changes. Confirming a flag says that an administrator looked into it."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 2})

    reason: Reason
    capacity_approved: Annotated[
        Flag,
        Field(
            description="Whether a device above `CAPACITY_MAX_W` may sell",
            json_schema_extra=without_default,
        ),
    ] = False
    frozen: Annotated[
        Flag,
        Field(
            description="true: it can't sell, and its owner can't remove it",
            json_schema_extra=without_default,
        ),
    ] = False
    earns_from: Annotated[
        Instant,
        Field(
            description="Since when its energy may be sold, to the 15-minute slot: not after its "
            "registration, nor before what its meter told under an earlier one",
            json_schema_extra=without_default,
        ),
    ] = datetime(2000, 1, 1, tzinfo=UTC)
    flags_confirmed: Annotated[
        list[FlagKind],
        Field(
            default_factory=list,
            min_length=1,
            max_length=len(FlagKind),
            description="Kinds of its open flags to confirm",
            examples=[["night_generation"]],
            json_schema_extra=without_default,
        ),
    ]

    @model_validator(mode="after")
    def _decides(self) -> Self:
        if not self.model_fields_set - {"reason"}:
            fields = ", ".join(name for name in type(self).model_fields if name != "reason")
            raise Invalid(field="body", allowed=f"must hold at least one of {fields}")
        return self


class FlagView(View):
    id: Annotated[int, Field(description="Rises with each flag")]
    device_id: DeviceId
    device_name: Annotated[str, Field(description="What its owner calls the device")]
    device_removed: Annotated[bool, Field(description="Its owner removed it since")]
    owner_id: UserId
    kind: Annotated[FlagKind, Field(description="What looks wrong")]
    state: Annotated[
        Literal["open", "confirmed"],
        Field(description="confirmed: an administrator looked into it"),
    ]
    energy_wh: Annotated[float, Field(description="Energy that it is about, Wh")]
    evidence: Annotated[
        dict[str, Any], Field(description="The numbers and times that raised it, by kind")
    ]
    created_at: ShownInstant
    updated_at: ShownInstant
    confirmed_at: Annotated[ShownInstant | None, Field(description="When, if it was")]
    confirmed_by: Annotated[UserId | None, Field(description="The administrator")]


class FlagQuery(IdPageQuery):
    state: Annotated[
        Literal["open", "confirmed"] | None, Field(description="In this state only")
    ] = None
    device_id: Annotated[DeviceId | None, Field(description="Of this device only")] = None


class JudgedDeviceView(DeviceView):
    flags: Annotated[list[FlagView], Field(description=f"Newest first, {_FLAGS_SHOWN} at most")]


class AdminActionView(View):
    id: Annotated[int, Field(description="Rises with each action")]
    admin_id: Annotated[UserId, Field(description="Who: the administrator")]
    admin_email: Annotated[str | None, Field(description="Who; null: gone since")]
    action: Annotated[str, Field(description="What", examples=["device.decided"])]
    subject_kind: Annotated[str, Field(description="To what", examples=["device"])]
    subject_id: Annotated[UUID, Field(description="To which user or device")]
    subject_name: Annotated[str | None, Field(description="What it is called; null: gone since")]
    before: Annotated[dict[str, Any], Field(description="What it was, of what changed")]
    after: Annotated[dict[str, Any], Field(description="What it became")]
    reason: Annotated[str | None, Field(description="Why; null: none was given")]
    created_at: ShownInstant


class ActionQuery(IdPageQuery):
    subject_id: Annotated[UUID | None, Field(description="To this user or device only")] = None


@router.get("/devices/{device_id}", responses=answers(Forbidden, NotFound))
async def get_any_device(
    pool: PoolDep, _: Admin, device_id: DevicePathId
) -> Answer[JudgedDeviceView]:
    """A device, what was decided of it, and its flags."""
    async with pool.acquire() as conn:
        return ok(await _judged(conn, device_id))


@router.patch("/devices/{device_id}", responses=answers(Forbidden, NotFound))
async def decide_on_device(
    pool: PoolDep,
    settings: SettingsDep,
    clock: ClockDep,
    admin: Admin,
    device_id: DevicePathId,
    body: DeviceDecision,
) -> Answer[JudgedDeviceView]:
    """Approve a capacity, freeze, let earn from earlier, confirm flags; with a reason, on record.

    Its listings pause or go on accordingly, and the one that follows it holds what it earned.
    """
    wanted = {name: getattr(body, name) for name in body.model_fields_set}
    wanted["flags_confirmed"] = tuple(body.flags_confirmed)
    await admin_service.decide(
        pool, admin, device_id, Decision(**wanted), settings.selling_rules, clock
    )
    async with pool.acquire() as conn:
        return ok(await _judged(conn, device_id))


@router.get("/flags", responses=answers(Forbidden))
async def list_flags(
    pool: PoolDep, _: Admin, query: Annotated[FlagQuery, Query()]
) -> Answer[Page[FlagView]]:
    """What looks wrong about the energy of devices, newest first."""
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


@router.get("/actions", responses=answers(Forbidden))
async def list_admin_actions(
    pool: PoolDep, _: Admin, query: Annotated[ActionQuery, Query()]
) -> Answer[Page[AdminActionView]]:
    """What administrators did, newest first."""
    before_id = NEWEST_ID.read(query.cursor)
    async with pool.acquire() as conn:
        found = await admin_actions.newest(
            conn, query.subject_id, before_id=before_id, limit=query.limit + 1
        )
    return ok(
        NEWEST_ID.page(
            found, query.limit, key=lambda one: one.id, show=AdminActionView.model_validate
        )
    )


async def _judged(conn: Connection, device_id: DeviceId) -> JudgedDeviceView:
    device = await devices.by_id(conn, device_id, removed=True)
    if device is None:
        raise NotFound(what="device")
    found = await flags.newest(
        conn, before_id=NEWEST_ID.read(None), limit=_FLAGS_SHOWN, device_id=device_id
    )
    shown = dict(DeviceView.model_validate(device))
    return JudgedDeviceView(**shown, flags=[FlagView.model_validate(flag) for flag in found])
