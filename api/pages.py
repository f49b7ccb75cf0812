"""The control room's page: static files, under a policy that lets nothing else in.

Everything on it comes from the REST API and the live feed, by whoever signed in there.
"""

from pathlib import Path
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from core.settings import ApiSettings

_FILES = Path(__file__).parent / "static"


def routes() -> list[BaseRoute]:
    return [Route("/", _index, methods=["GET"]), Mount("/static", StaticFiles(directory=_FILES))]


def is_page(path: str) -> bool:
    return path == "/" or path.startswith("/static/")


def policy(settings: ApiSettings) -> str:
    """Content-Security-Policy of the page: this origin, the live feed, the tile server if any."""
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


async def _index(_: Request) -> FileResponse:
    return FileResponse(_FILES / "index.html")


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
