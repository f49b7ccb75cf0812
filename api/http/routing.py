"""Routers whose routes answer by a handler of ours, and document what they may refuse."""

from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from api.http.dispatch import Handler
from api.http.errors import answers
from core.errors import AccountInactive, BadToken, DomainError, ExpiredToken, TooMany

PREFIX = "/api/v1"


class Route(APIRoute):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.app = Handler(self)


class Shortcut:
    """Leads to a route whose path has no parameters at once: the framework tries each in turn."""

    def __init__(self, routes: Iterable[BaseRoute], otherwise: ASGIApp) -> None:
        self._otherwise = otherwise
        self._routes = {
            (method, route.path): route
            for route in routes
            if isinstance(route, Route) and not route.param_convertors
            for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._routes.get((scope.get("method"), scope.get("path")))  # type: ignore[arg-type]
        if route is None:
            await self._otherwise(scope, receive, send)
        else:
            scope["route"] = route
            await route.app(scope, receive, send)


def name_of(route: APIRoute) -> str:
    """Generated clients name their methods so."""
    return route.name


def public(path: str, tag: str, *refusals: type[DomainError]) -> APIRouter:
    """For routes that need no token."""
    return _router(PREFIX + path, tag, refusals)


def private(path: str, tag: str) -> APIRouter:
    """For routes of whoever is signed in."""
    return public(path, tag, BadToken, ExpiredToken, AccountInactive, TooMany)


def bare(tag: str) -> APIRouter:
    """For routes outside of the API's prefix."""
    return _router("", tag, ())


def _router(prefix: str, tag: str, refusals: Iterable[type[DomainError]]) -> APIRouter:
    return APIRouter(
        prefix=prefix,
        tags=[tag],
        route_class=Route,
        responses=answers(*refusals),
        generate_unique_id_function=name_of,
    )
