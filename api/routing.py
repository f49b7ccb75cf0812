"""Routers whose routes read numbers exactly, and document what they may refuse."""

import json
from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Any

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from api.errors import answers
from core.errors import AccountInactive, BadToken, DomainError, ExpiredToken

PREFIX = "/api/v1"


class ExactRequest(Request):
    """A JSON number with a point is a Decimal: a float would drop decimals that are too many."""

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            read = json.loads(await self.body(), parse_float=Decimal)
            # The framework reads models from objects' attributes too, and a Decimal is an object.
            self._json = float(read) if isinstance(read, Decimal) else read
        return self._json


class ExactRoute(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_exactly(request: Request) -> Response:
            return await handle(ExactRequest(request.scope, request.receive))

        return handle_exactly


def name_of(route: APIRoute) -> str:
    """Generated clients name their methods so."""
    return route.name


def public(path: str, tag: str, *refusals: type[DomainError]) -> APIRouter:
    """For routes that need no token."""
    return APIRouter(
        prefix=PREFIX + path,
        tags=[tag],
        route_class=ExactRoute,
        responses=answers(*refusals),
        generate_unique_id_function=name_of,
    )


def private(path: str, tag: str) -> APIRouter:
    """For routes of whoever is signed in."""
    return public(path, tag, BadToken, ExpiredToken, AccountInactive)
