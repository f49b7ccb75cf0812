"""Routes: the caller's addresses. Lock: the caller's row, see `db.addresses`."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Query
from pydantic import AliasChoices, ConfigDict, Field

from api.http import routing
from api.http.cursors import NEWEST, PageQuery
from api.http.dependencies import CurrentUser, Id, PoolDep
from api.http.envelope import Answer, Page, created, ok
from api.http.errors import answers
from api.http.fields import Body, Flag, Latitude, Longitude, Name, ShownInstant, View
from core.errors import NotFound, TooManyAddresses
from db import addresses

router = routing.private("/location", "location")

ADDRESSES_MAX = 20


def _two_spellings(schema: dict[str, Any]) -> None:
    """Of an alias with choices the generated schema knows the first alone."""
    fields = schema["properties"]
    fields |= {"lat": fields["latitude"], "lon": fields["longitude"]}
    schema["required"] = [f for f in schema["required"] if f not in ("latitude", "longitude")]
    schema["allOf"] = [
        {"oneOf": [{"required": [name]}, {"required": [short]}]}
        for name, short in (("latitude", "lat"), ("longitude", "lon"))
    ]
    if not schema["required"]:
        del schema["required"]


class PositionUpdate(Body):
    """A place: `latitude` or `lat`, and `longitude` or `lon`."""

    model_config = ConfigDict(json_schema_extra=_two_spellings)

    latitude: Annotated[Latitude, Field(validation_alias=AliasChoices("latitude", "lat"))]
    longitude: Annotated[Longitude, Field(validation_alias=AliasChoices("longitude", "lon"))]
    label: Annotated[Name | None, Field(examples=["home"])] = None


class NewAddress(PositionUpdate):
    """A place: `latitude` or `lat`, and `longitude` or `lon`; the first is the default one."""

    is_default: Annotated[
        Flag, Field(description="Look for what is near here, from now on", examples=[False])
    ] = False


class AddressView(View):
    id: UUID
    label: Annotated[str, Field(examples=["home"])]
    latitude: Annotated[float, Field(description="WGS 84 degrees", examples=[12.9716])]
    longitude: Annotated[float, Field(description="WGS 84 degrees", examples=[77.5946])]
    is_default: Annotated[bool, Field(description="Of all the caller's addresses one is")]
    created_at: ShownInstant


@router.put("/update")
async def update_location(
    pool: PoolDep, caller: CurrentUser, body: PositionUpdate
) -> Answer[AddressView]:
    """Move the caller's default address, or make one: where things are looked for and offered."""
    async with pool.acquire() as conn, conn.transaction():
        await addresses.lock(conn, caller.user_id)
        address = await addresses.set_default(
            conn,
            caller.user_id,
            label=body.label,
            latitude=body.latitude,
            longitude=body.longitude,
        )
    return ok(AddressView.model_validate(address))


@router.get("/addresses")
async def list_addresses(
    pool: PoolDep, caller: CurrentUser, query: Annotated[PageQuery, Query()]
) -> Answer[Page[AddressView]]:
    """The caller's addresses, newest first."""
    before = NEWEST.read(query.cursor)
    async with pool.acquire() as conn:
        found = await addresses.newest(conn, caller.user_id, before=before, limit=query.limit + 1)
    return ok(
        NEWEST.page(
            found,
            query.limit,
            key=lambda one: (one.created_at, one.id),
            show=AddressView.model_validate,
        )
    )


@router.post("/addresses", status_code=201, responses=answers(TooManyAddresses))
async def add_address(pool: PoolDep, caller: CurrentUser, body: NewAddress) -> Answer[AddressView]:
    """One more address; as the default one it takes the place of the one before."""
    async with pool.acquire() as conn, conn.transaction():
        await addresses.lock(conn, caller.user_id)
        count = await addresses.count(conn, caller.user_id)
        if count >= ADDRESSES_MAX:
            raise TooManyAddresses(at_most=ADDRESSES_MAX)
        if body.is_default:
            await addresses.clear_default(conn, caller.user_id)
        address = await addresses.add(
            conn,
            caller.user_id,
            label=body.label,
            latitude=body.latitude,
            longitude=body.longitude,
            is_default=body.is_default or count == 0,
        )
    return created(AddressView.model_validate(address))


@router.delete("/addresses/{address_id}", responses=answers(NotFound))
async def remove_address(pool: PoolDep, caller: CurrentUser, address_id: Id) -> Answer[AddressView]:
    """Forget an address. Of those that are left, the newest takes the place of a default one."""
    async with pool.acquire() as conn, conn.transaction():
        await addresses.lock(conn, caller.user_id)
        removed = await addresses.remove(conn, caller.user_id, address_id)
        if removed is None:
            raise NotFound(what="address")
        if removed.is_default:
            await addresses.promote_newest(conn, caller.user_id)
    return ok(AddressView.model_validate(removed))
