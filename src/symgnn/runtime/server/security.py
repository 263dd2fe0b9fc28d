"""Who may speak to the service: tokens, hosts and origins; and how much at once."""

import asyncio
import hmac
import ipaddress
import re
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fastapi import WebSocket
from fastapi.responses import JSONResponse

from symgnn.runtime.server.limits import TOKEN, Limits
from symgnn.runtime.server.metrics import Metrics
from symgnn.runtime.server.wire import dumps

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_OPEN = ("/healthz", "/", "/docs", "/openapi.json")
"""Paths that hold no secret; so do the page's files, which lie beside them."""

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]*)?")

_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; connect-src 'self' ws: wss:; style-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


@dataclass(frozen=True)
class Access:
    """Who is let in."""

    hosts: frozenset[str] | None
    """Names that a Host header may have; None for any (a token is asked for then)."""
    token: str | None
    """None: nobody needs one."""
    origins: frozenset[str] = frozenset()
    """Origins of other pages that may speak to the service."""

    @classmethod
    def of(cls, host: str, token: str | None, origins: Sequence[str]) -> "Access":
        """Of a service that listens on a host."""
        own = {"localhost", "127.0.0.1", "::1", host.lower()}
        # A name that leads to another machine may be any name: there the token decides.
        return cls(frozenset(own) if is_loopback(host) else None, token, frozenset(origin.rstrip("/") for origin in origins))

    def refuses(self, headers: dict[str, str]) -> str | None:
        """Why a request is not from where it may come, None where it is.

        A page of somebody else that a user looks at can make the browser speak to services on the user's own machine, under a
        name that leads there (DNS rebinding) or across origins (WebSockets are not held back). The first shows in Host, the
        second in Origin.
        """
        host = headers.get("host", "")
        if self.hosts is not None and _name(host) not in self.hosts:
            return f"Host: found {host[:100]!r}, expected {', '.join(sorted(self.hosts))}: only this machine is answered"
        origin = headers.get("origin")
        if origin is None or origin in self.origins:
            return None
        if urlsplit(origin).netloc.lower() != host.lower():
            return f"Origin: found {origin[:100]!r}, expected that of {host[:100]} or one given by --allow-origin"
        return None

    def knows(self, scope: Scope, headers: dict[str, str]) -> bool:
        """Whether a request brings the token, or needs none."""
        path = scope["path"]
        if self.token is None or (scope["type"] == "http" and (path in _OPEN or "/" not in path[1:]) and path != "/metrics"):
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not given:
            # Browsers cannot give a WebSocket headers.
            asked = parse_qs(scope["query_string"].decode("latin-1")) if scope["type"] == "websocket" else {}
            given = asked.get("token", [""])[0]
        return hmac.compare_digest(given.strip().encode(), self.token.encode())


def is_loopback(host: str) -> bool:
    """Whether a host is the machine itself and reached by nobody else."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Guard:
    """ASGI middleware: lets in whom [Access][symgnn.runtime.server.security.Access] allows, and bodies within bounds.

    Args:
        app: behind it.
        access: who is let in.
        limits: of bodies.
        metrics: where refusals are counted.
    """

    def __init__(self, app: ASGIApp, access: Access, limits: Limits, metrics: Metrics):
        self._app, self._access, self._limits, self._metrics = app, access, limits, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        sentence = self._access.refuses(headers)
        known = sentence is None and self._access.knows(scope, headers)
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send, sentence, known)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                have = {name for name, _ in message["headers"]}
                more = [(name.encode(), value.encode()) for name, value in _HEADERS.items() if name.encode() not in have]
                message = {**message, "headers": [*message["headers"], *more]}
                if message["status"] >= 400:
                    self._metrics.errors.labels(str(message["status"])).inc()
            await send(message)

        if sentence is not None:
            await JSONResponse({"detail": sentence}, 403)(scope, receive, answer)
        elif not known:
            says = "token: found none or a wrong one, expected the header Authorization: Bearer TOKEN"
            await JSONResponse({"detail": says}, 401, {"WWW-Authenticate": "Bearer"})(scope, receive, answer)
        elif scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, answer)
        else:
            body = await self._body(headers, receive)
            if isinstance(body, JSONResponse):
                await body(scope, receive, answer)
                return
            rest: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

            async def again() -> Message:
                return rest.pop() if rest else await receive()

            await self._app(scope, again, answer)

    async def _body(self, headers: dict[str, str], receive: Receive) -> JSONResponse | bytes:
        """The body, whole, or why it is refused."""
        most = self._limits.body
        too_big = JSONResponse(
            {"detail": f"body: found more than {most} bytes, expected at most so many: send fewer clips"}, 413
        )
        length = headers.get("content-length", "0")
        too_big = JSONResponse(
            {"detail": f"body: found more than {most} bytes, expected at most so many: send fewer clips"}, 413
        )
        if not length.isdigit() or len(length) > 12 or int(length) > most:
            return too_big
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.receive):
                more = True
                while more:
                    message = await receive()
                    if message["type"] != "http.request":
                        return JSONResponse({"detail": "body: found its beginning alone, expected all of it"}, 400)
                    body += message.get("body", b"")
                    if len(body) > most:
                        return too_big
                    more = message.get("more_body", False)
        except TimeoutError:
            return JSONResponse({"detail": f"body: not whole after {self._limits.receive:g} s: send it faster, or less"}, 408)
        return bytes(body)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send, sentence: str | None, known: bool) -> None:
        if sentence is None and known:
            await self._app(scope, receive, send)
            return
        websocket = WebSocket(scope, receive, send)
        if sentence is not None:
            self._metrics.errors.labels("403").inc()
            await websocket.close()
            return
        # Only who was accepted learns the code of a close.
        self._metrics.errors.labels(str(TOKEN)).inc()
        says = "token: found none or a wrong one, expected the header Authorization: Bearer TOKEN, or ?token=TOKEN"
        await websocket.accept()
        await websocket.send_text(dumps({"type": "error", "message": says}))
        await websocket.close(TOKEN, "token: found none or a wrong one")


def _name(host: str) -> str:
    """The name in a Host header, without its port."""
    found = _HOST.fullmatch(host)
    return "" if found is None else found["name"].strip("[]").lower()
