"""What stands before every request: who may ask, and from where.

- The host that a request names is one of ours, so that no other site's name can be made to point
  here (DNS rebinding).
- What changes anything comes from our own page: the browser says so (`Origin`, `Sec-Fetch-Site`),
  and it carries a header that no form and no other site's script can send without asking first.
- Beyond this machine, a token that the terminal printed is asked for once.
- A signed cookie knows the person. It is all that tells two of them apart.
"""

from __future__ import annotations

import hashlib
import hmac
import html
import json
import os
import re
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response

from dreamer.media import files

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADER = ("x-dreamer", "studio")
"""What every request that changes something carries."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
YEAR = 365 * 24 * 3600

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "x-frame-options": "DENY",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
_PERSON = re.compile(r"[0-9a-f]{32}")


class Keys:
    """Signs what cookies say, with a secret that stays in the studio's folder.

    Args:
        folder: of the studio; made if it is missing.
        guarded: whether strangers have to show a token: beyond this machine.

    Attributes:
        token: that has to be shown once; None if none has to be. It is the same each time, so that
            who was let in once stays in; another secret makes another one.
        cookies: the names of those that know a person, and that say the token was shown.
    """

    def __init__(self, folder: Path, *, guarded: bool = False) -> None:
        self._secret = _secret(folder / ".secret")
        self.token = self.sign("token")[:32] if guarded else None
        # Browsers share cookies between ports, and the same studio may be at another one next time.
        known = hashlib.sha256(self._secret).hexdigest()[:8]
        self.cookies = (f"dreamer-person-{known}", f"dreamer-token-{known}")

    def sign(self, text: str) -> str:
        """Return the signature of a text."""
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()

    def person(self, cookie: str) -> str | None:
        """Return the person that a cookie is of; None if it was not signed here."""
        name, _, signature = cookie.partition(".")
        right = hmac.compare_digest(signature.encode(), self.sign(f"person {name}").encode())
        return name if right and _PERSON.fullmatch(name) else None

    def is_token(self, given: str) -> bool:
        """Whether somebody has the token."""
        return self.token is not None and hmac.compare_digest(given.encode(), self.token.encode())

    def may(self, cookie: str) -> bool:
        """Whether a cookie says that the token was shown."""
        if self.token is None:
            return True
        return hmac.compare_digest(cookie.encode(), self.sign(f"token {self.token}").encode())


class Guard:
    """Lets through what may come in, and says in `scope["person"]` whose it is.

    Args:
        app: what is behind it.
        keys: of the cookies.
    """

    def __init__(self, app: App, keys: Keys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        own = MutableHeaders()

        async def sending(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                sent = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    sent.setdefault(name, value)
                sent.setdefault("content-security-policy", POLICY)
                sent.setdefault("cache-control", "no-store")
                for name, value in own.items():
                    sent.append(name, value)
            await send(message)

        answer = self._refused(scope, headers)
        if answer is None:
            answer = self._known(scope, headers, own)
        if answer is not None and scope["path"] == "/":
            answer = _told(answer)
        await (answer or self._app)(scope, receive, sending)

    def _refused(self, scope: Scope, headers: Headers) -> Response | None:
        """Return why a request is not let in, wherever it is from."""
        host = _split(f"//{headers.get('host', '')}")[1]
        if self._keys.token is None and host not in LOOPBACK:
            return refusal(
                421, f"'{files.shown(host[:100])}' is no name of this studio.", "Use localhost."
            )
        # A browser takes other ports of this machine for the same site, and sends them our cookies.
        ours = headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")
        if scope["method"] in ("GET", "HEAD"):
            ours = ours or headers.get("sec-fetch-mode") == "navigate"  # a link to the page
        else:
            origin = headers.get("origin")
            same = origin is None or _split(origin)[0] == headers.get("host")
            ours = ours and same and headers.get(HEADER[0]) == HEADER[1]
        if not ours:
            return refusal(403, "Another page may not ask for this.", "Use the studio's own page.")
        return None

    def _known(self, scope: Scope, headers: Headers, own: MutableHeaders) -> Response | None:
        """Find out whose a request is; the page itself makes a stranger a person."""
        cookies = _cookies(headers.get("cookie", ""))
        person_cookie, token_cookie = self._keys.cookies
        page = scope["path"] == "/" and scope["method"] in ("GET", "HEAD")
        given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [""])[0]
        person = self._keys.person(cookies.get(person_cookie, ""))
        if page and self._keys.is_token(given):
            shown = self._keys.sign(f"token {self._keys.token}")
            own.append("set-cookie", _cookie(token_cookie, shown))
            if person is None:
                own.append("set-cookie", self._new(person_cookie)[1])
            return RedirectResponse("/", status_code=303)  # the token does not stay in the address
        if not self._keys.may(cookies.get(token_cookie, "")):
            return refusal(
                401,
                "This studio asks for its token.",
                "Open the address that `dreamer studio` printed, with the token in it.",
            )
        if person is None:
            if not page:
                return refusal(401, "The studio does not know this page.", "Load the page again.")
            person, cookie = self._new(person_cookie)
            own.append("set-cookie", cookie)
        scope["person"] = hashlib.sha256(person.encode()).hexdigest()[:12]
        return None

    def _new(self, name: str) -> tuple[str, str]:
        person = secrets.token_hex(16)
        return person, _cookie(name, f"{person}.{self._keys.sign(f'person {person}')}")


def refusal(status: int, message: str, advice: str) -> JSONResponse:
    """Return an error as the page gets all of them."""
    return JSONResponse({"error": {"message": message, "advice": advice}}, status_code=status)


def _told(answer: Response) -> Response:
    """Return a refusal as a page, for who opens one."""
    if answer.status_code < 400:
        return answer
    error = json.loads(bytes(answer.body))["error"]
    said = "".join(f"<p>{html.escape(error[name])}</p>" for name in ("message", "advice"))
    text = (
        f'<!doctype html><html lang="en"><meta name="viewport" content="width=device-width">'
        f"<title>dreamer studio</title><h1>dreamer studio</h1>{said}</html>"
    )
    return Response(text, status_code=answer.status_code, media_type="text/html")


def _cookie(name: str, value: str) -> str:
    return f"{name}={value}; Path=/; Max-Age={YEAR}; HttpOnly; SameSite=Lax"


def _cookies(text: str) -> dict[str, str]:
    """Return cookies by their names; those of other programs on this machine may be anything."""
    pairs = (each.partition("=") for each in text.split(";"))
    return {name.strip(): value.strip() for name, _, value in pairs}


def _split(address: str) -> tuple[str, str]:
    """Return the host of an address with its port, and without; both "" if it is no address."""
    try:
        parts = urlsplit(address)
        return parts.netloc, parts.hostname or ""
    except ValueError:
        return "", ""


def _secret(path: Path) -> bytes:
    """Return the secret of a folder; a new one if it has none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        for _ in range(20):  # another studio may be about to write it
            secret = path.read_bytes()
            if len(secret) == 32:
                return secret
            time.sleep(0.05)
        path.unlink()  # cut short, as by a full disk
        return _secret(path)
    with open(descriptor, "wb") as stream:
        secret = secrets.token_bytes(32)
        stream.write(secret)
    return secret
