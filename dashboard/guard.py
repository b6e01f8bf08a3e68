"""What keeps the local server local: foreign names are refused and pages may load nothing from elsewhere.

The check of the Host stops DNS rebinding: a page of another site whose name is pointed at 127.0.0.1 would
otherwise read everything this server shows. The check of the Origin stops the forms of other sites.
"""

import socket
from ipaddress import ip_address
from urllib.parse import urlsplit

import dash
from dash import Dash
from flask import Flask, Response, abort, request

LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
WILDCARDS = ("0.0.0.0", "::", "")  # every interface, so browsers say whatever this machine is called
ANYTHING = "<path:path>"  # dash's route for its pages, whatever their path


def protect(app: Dash, host: str) -> None:
    """Refuse requests for or from other names than this machine's and ``host``, and send the security headers."""
    allowed, wild = _names(host), host in WILDCARDS

    def refuse_foreign_names() -> None:
        asked = requested_name(request.host)
        origin = request.headers.get("Origin")  # browsers send it with what may change something
        from_page = asked if origin is None else requested_name(origin.partition("://")[2])
        known = asked in allowed or (wild and _is_address(asked))
        strangers = [name for name, fits in ((asked, known), (from_page, from_page in {*allowed, asked})) if not fits]
        if strangers:
            abort(403, f"This dashboard answers to {', '.join(sorted(allowed))}, not to {strangers[0]}.")

    def finish(response: Response) -> Response:
        if response.status_code == 200 and is_unknown():
            response.status_code = 404  # with dash's page, whose links lead back
        response.headers["Content-Security-Policy"] = policy(app)
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    server: Flask = app.server
    server.before_request(refuse_foreign_names)
    server.after_request(finish)


def _names(host: str) -> frozenset[str]:
    """Return the names that browsers may say for a server that listens on ``host``."""
    own = {socket.gethostname(), socket.getfqdn()} if host in WILDCARDS else {host}
    return LOCAL_NAMES | {name.lower().strip("[]") for name in own if name}


def _is_address(name: str | None) -> bool:
    """Return whether a name is an IP address, which no site can point elsewhere."""
    try:
        return name is not None and bool(ip_address(name))
    except ValueError:
        return False


def requested_name(host: str) -> str | None:
    """Return the name in a Host header, without port and brackets; None if it is not one."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def is_unknown() -> bool:
    """Return whether the path of this request is that of no page and no route of this program."""
    pages = {page["path"].strip("/") for page in dash.page_registry.values()}
    is_rest = request.url_rule is not None and request.url_rule.rule.endswith(ANYTHING)
    return is_rest and request.path.strip("/") not in pages


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
