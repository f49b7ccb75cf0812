"""The static pages: the control room and the API's documentation.

Their content security policy allows this origin, the live feed and the map tiles, and nothing else.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from core.settings import ApiSettings

_FILES = Path(__file__).parent.parent / "static"
_PAGES = {"/": "index.html", "/docs": "docs.html"}


def routes() -> list[BaseRoute]:
    """Return the routes of the pages and of their files."""
    pages = [Route(path, _page(name), methods=["GET"]) for path, name in _PAGES.items()]
    return [*pages, Mount("/static", StaticFiles(directory=_FILES))]


def is_page(path: str) -> bool:
    """Return whether a path is served from here."""
    return path in _PAGES or path.startswith("/static/")


def policy(settings: ApiSettings) -> str:
    """Return the Content-Security-Policy of the pages."""
    images = ["'self'", "data:"]
    if settings.map_tiles_url:
        images.append(_origin(settings.map_tiles_url.replace("{s}", "*")))
    sources = {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": images,
        "connect-src": ["'self'", _origin(settings.realtime_url)],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
        "frame-ancestors": ["'none'"],
    }
    return "; ".join(f"{name} {' '.join(allowed)}" for name, allowed in sources.items())


def _page(name: str) -> Callable[[Request], Awaitable[FileResponse]]:
    async def page(_: Request) -> FileResponse:
        return FileResponse(_FILES / name)

    return page


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
