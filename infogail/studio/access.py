"""Who may speak to the studio: this machine's user, from the studio's own page.

Whoever can send it requests can drive, train and delete. So every request needs the token that was printed with the
address, and the checks of `Host` and `Origin` keep out pages of other sites that the same browser has open, also those
whose name was made to point at this machine (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "media-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class Access:
    """ASGI middleware that answers 401 or 403 to everything that is not from the studio's own page."""

    def __init__(self, app: ASGIApp, token: str, host: str, port: int) -> None:
        self.app, self.token, self.port = app, token, port
        self.cookie = f"infogail-studio-{port}"  # browsers share cookies between the ports of a host
        self.any_address = host in ("0.0.0.0", "::")
        names = (*LOOPBACK, host, *((socket.gethostname(),) if self.any_address else ()))
        self.hosts = {f"{name}:{port}".lower() for name in names} | ({*names} if port == 80 else set())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass the request on."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if not self._is_ours(headers):
            await self._refuse(scope, receive, send, 403, "not the studio's own page")
        elif scope["type"] == "http" and scope["path"] == "/" and self._is_token(given):
            response = RedirectResponse("/", 303, HEADERS)
            response.set_cookie(self.cookie, self.token, httponly=True, samesite="strict")
            await response(scope, receive, send)
        elif not self._is_token(self._from_cookie(headers.getlist("cookie"))):
            await self._refuse(scope, receive, send, 401, "open the address that the studio printed when it started")
        else:
            await self.app(scope, receive, _with_headers(send))

    def _is_ours(self, headers: Headers) -> bool:
        host, origin = headers.get("host", "").lower(), headers.get("origin")
        return self._is_known(host) and origin in (None, f"http://{host}")

    def _is_known(self, host: str) -> bool:
        if host in self.hosts:
            return True
        if not self.any_address:
            return False
        try:  # an address cannot be made to point elsewhere, unlike a name
            ipaddress.ip_address(host.removesuffix(f":{self.port}").strip("[]"))
        except ValueError:
            return False
        return True

    def _is_token(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(), self.token.encode())

    def _from_cookie(self, lines: Iterable[str]) -> str:
        cookies: SimpleCookie = SimpleCookie()
        try:
            for line in lines:
                cookies.load(line)
        except CookieError:
            return ""
        return cookies[self.cookie].value if self.cookie in cookies else ""

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, status: int, reason: str) -> None:
        response = PlainTextResponse(f"{status}: {reason}\n", status, HEADERS)
        if scope["type"] == "http" or "websocket.http.response" in scope.get("extensions", {}):
            await response(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": reason})


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(HEADERS)
        await send(message)

    return sending
