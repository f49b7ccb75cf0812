"""Routers whose routes are dispatched by `RouteHandler`, and document their errors."""

from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute

from api.http.dispatch import RouteHandler
from api.http.errors import answers
from core.errors import AccountInactive, BadToken, DomainError, ExpiredToken, TooMany

PREFIX = "/api/v1"


class Route(APIRoute):
    """A route with a handler of our own. Raises UnsupportedRoute."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.app = RouteHandler(self)


def name_of(route: APIRoute) -> str:
    """Return the operation id of a route. Generated clients name their methods by it."""
    return route.name


def public(path: str, tag: str, *refusals: type[DomainError]) -> APIRouter:
    """Return a router for routes that need no access token."""
    return _router(PREFIX + path, tag, refusals)


def private(path: str, tag: str) -> APIRouter:
    """Return a router for routes that need an access token.

    The types of their callers, such as `CurrentUser`, check it.
    """
    return public(path, tag, BadToken, ExpiredToken, AccountInactive, TooMany)


def bare(tag: str) -> APIRouter:
    """Return a router for routes outside of the API's prefix."""
    return _router("", tag, ())


def _router(prefix: str, tag: str, refusals: Iterable[type[DomainError]]) -> APIRouter:
    return APIRouter(
        prefix=prefix,
        tags=[tag],
        route_class=Route,
        responses=answers(*refusals),
        generate_unique_id_function=name_of,
    )
