"""What keeps the local server local: foreign Host names are refused and pages may load nothing from elsewhere.

The check of the Host stops DNS rebinding: a page of another site whose name is pointed at 127.0.0.1 would
otherwise read everything this server shows.
"""

from urllib.parse import urlsplit

from dash import Dash
from flask import Flask, Response, abort, request

LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})


def protect(app: Dash, host: str) -> None:
    """Refuse requests for other names than this machine's and ``host``, and send the security headers."""
    allowed = LOCAL_NAMES | {host.lower().strip("[]")}

    def refuse_foreign_names() -> None:
        if requested_name(request.host) not in allowed:
            abort(403)

    def add_headers(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = policy(app)
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    server: Flask = app.server
    server.before_request(refuse_foreign_names)
    server.after_request(add_headers)


def requested_name(host: str) -> str | None:
    """Return the name in a Host header, without port and brackets; None if it is not one."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def policy(app: Dash) -> str:
    """Return the Content-Security-Policy: scripts are this program's files and Dash's few inline lines, by hash."""
    directives = {
        "default-src": ["'self'"],
        "script-src": ["'self'", *app.csp_hashes()],
        "style-src": ["'self'", "'unsafe-inline'"],  # plotly.js writes style elements
        "img-src": ["'self'", "data:", "blob:"],  # plotly.js draws an image before it is downloaded
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
        "frame-ancestors": ["'none'"],
    }
    return "; ".join(f"{name} {' '.join(values)}" for name, values in directives.items())
