"""What stands between the network and the pages: hosts, origins and headers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from rlhf_env.extras import importing

with importing("label"):
    from starlette.datastructures import Headers, MutableHeaders
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.responses import PlainTextResponse
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 256 * 1024
LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1", "[::1]")
EVERYWHERE = ("0.0.0.0", "::", "")
READING = ("GET", "HEAD")
HEADERS = {
    # Nothing inline, nothing from elsewhere, no frame around the page.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # "no-referrer" would make browsers send forms without their origin.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # Going back asks for the page again, which then shows what was said.
    "cache-control": "no-store",
}


def protections(host: str, more_hosts: Sequence[str]) -> list[Middleware]:
    """Return the middleware, the outermost first.

    Args:
        host: the address that the page listens at.
        more_hosts: other names under which browsers reach it.
    """
    listening = () if host in EVERYWHERE else (host,)
    hosts = [*LOCAL_HOSTS, *listening, *more_hosts]
    return [
        Middleware(SafeHeaders),
        # A foreign name that leads here is an attack by DNS rebinding.
        Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),
        Middleware(SameOrigin),
    ]


class SafeHeaders:
    """Adds `HEADERS` to every response."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an application."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        await self.app(scope, receive, send_safely)


class SameOrigin:
    """Refuses what another site's page sends; browsers always say whose page sends a form."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an application."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http" and scope["method"] not in READING:
            headers = Headers(scope=scope)
            if not _is_same(headers.get("origin"), headers.get("host")):
                refusal: Any = PlainTextResponse("This came from another page.", 403)
                await refusal(scope, receive, send)
                return
        await self.app(scope, receive, send)


def _is_same(origin: str | None, host: str | None) -> bool:
    if not origin or not host:
        return False
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()
