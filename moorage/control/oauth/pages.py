"""The few pages of sign-in and consent: plain HTML without scripts, framed by nobody."""

from __future__ import annotations

from html import escape
from urllib.parse import urlencode

from fastapi.responses import HTMLResponse, RedirectResponse

from moorage.control.oauth.authorization import AuthorizationRequest
from moorage.control.oauth.clients import PUBLIC_CLIENTS

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:26rem;margin:12vh auto;padding:0 1rem;color:#1b2a33}"
    "h1{font-size:1.4rem}label{display:block;margin-bottom:.25rem}"
    "input{font:inherit;width:100%;box-sizing:border-box;padding:.5rem;margin-bottom:1rem}"
    "button,.button{font:inherit;display:inline-block;padding:.5rem 1rem;margin-right:.5rem}"
    ".problem{color:#a11}"
)
_HEADERS = {
    "Cache-Control": "no-store",
    # Not `no-referrer`: with it browsers say `Origin: null` of forms, so that ours would look like a stranger's.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"


def local_path(path: str) -> str:
    """`path` when it stays on this server, else the front page."""
    stays = path.startswith("/") and not path.startswith("//") and path.isprintable() and "\\" not in path
    return path if stays else "/"


def see_other(url: str) -> RedirectResponse:
    """On to `url`, with GET."""
    return RedirectResponse(url, status_code=303, headers=_HEADERS)


def sign_in_page(return_to: str, *, with_provider: bool, problem: str = "") -> HTMLResponse:
    """Asks for a token, or to sign in at the OpenID Connect provider where there is one."""
    provider = ""
    if with_provider:
        link = escape(f"/oidc/login?{urlencode({'return_to': return_to})}")
        provider = f'<p><a class="button" href="{link}">Sign in with your organisation</a></p>'
    refusal = f'<p class="problem">{escape(problem)}</p>' if problem else ""
    body = (
        f"{refusal}{provider}"
        '<form method="post" action="/login">'
        f'<input type="hidden" name="return_to" value="{escape(return_to)}">'
        '<label for="token">Access token</label>'
        '<input id="token" name="token" type="password" autocomplete="off" required autofocus>'
        "<button>Sign in</button></form>"
    )
    return _page("Sign in to Moorage", body, status=403 if problem else 200)


def consent_page(user_name: str, request: AuthorizationRequest, query: str) -> HTMLResponse:
    """Asks whether a client may act as the user. `query` is the request as it came."""
    lasting = " It may renew its access for 30 days." if "offline_access" in request.scope.split() else ""
    body = (
        f"<p><b>{escape(PUBLIC_CLIENTS[request.client_id])}</b> on this machine wants to act as "
        f"<b>{escape(user_name)}</b>, with all rights of that account.{lasting}</p>"
        f'<form method="post" action="/oidc/v1/authorize?{escape(query)}">'
        '<button name="decision" value="allow">Allow</button> '
        '<button name="decision" value="deny">Deny</button></form>'
    )
    # The answer to this form redirects to the client, which browsers count as a target of the form.
    origin = "/".join(request.redirect_uri.split("/", 3)[:3])
    return _page("Allow access?", body, form_targets=f"'self' {origin}")


def refusal_page(message: str, status: int = 400) -> HTMLResponse:
    return _page("That did not work", f'<p class="problem">{escape(message)}</p>', status=status)


def _page(title: str, body: str, *, status: int = 200, form_targets: str = "'self'") -> HTMLResponse:
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><main><h1>{escape(title)}</h1>{body}</main></body></html>"
    )
    policy = _POLICY.replace("form-action 'self'", f"form-action {form_targets}")
    return HTMLResponse(text, status_code=status, headers={**_HEADERS, "Content-Security-Policy": policy})
