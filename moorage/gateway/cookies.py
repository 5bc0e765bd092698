"""Browsers' sessions: the credential in a cookie, which a browser sends along whatever page asks it to."""

from __future__ import annotations

from urllib.parse import urlsplit

from moorage.api.errors import PermissionDenied
from moorage.api.sessions import SESSION_COOKIE

_NAME = SESSION_COOKIE.encode()

Headers = list[tuple[bytes, bytes]]


def session_authorization(headers: Headers) -> bytes | None:
    """The session's token as the `Authorization` header that would hold it, or None without one."""
    for header, value in headers:
        if header == b"cookie":
            for pair in value.split(b";"):
                name, _, token = pair.strip().partition(b"=")
                if name == _NAME and token:
                    return b"Bearer " + token
    return None


def require_own_page(headers: Headers) -> None:
    """For requests that change something with a cookie's credential.

    The cookie is `SameSite`, but another port of this host is the same site; so the browser must say that it was a
    page of this very server, as browsers do for such requests.

    Raises:
        PermissionDenied: it says otherwise, or nothing.
    """
    found = {name: value.decode("latin-1") for name, value in headers if name in (b"origin", b"host")}
    if b"host" not in found or urlsplit(found.get(b"origin", "")).netloc != found[b"host"]:
        raise PermissionDenied("A request with a session's cookie must come from a page of this server (Origin).")
