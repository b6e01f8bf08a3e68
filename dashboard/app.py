"""The dashboard as a Dash app."""

from pathlib import Path

from dash import Dash

from . import downloads, exports, frame
from .current import bind
from .data import Data
from .guard import protect


def create_app(runs: Path, tables: Path | None = None, archive: Path | None = None, host: str = "127.0.0.1") -> Dash:
    """Make the dashboard of a folder of runs.

    Args:
        runs: folder of runs, or one run.
        tables: folder of latency tables (default: the shipped ones).
        archive: file of measured subnets (default: the shipped one).
        host: name under which the server may be asked for, beside those of this machine.
    """
    app = Dash(
        name=__package__,  # with __name__ the pages' relative imports fail
        use_pages=True,
        title="SuperSAM",
        update_title="",  # else the title flickers at every look for new results
        serve_locally=True,
        suppress_callback_exceptions=True,  # a page without a run or an archive has none of its usual elements
        include_pages_meta=False,  # names the address for link previews, which a local page has not
        assets_ignore=frame.OURS,  # early.js is in the head already and asks for plotly.js where there is a figure
    )
    data = Data(runs, tables, archive)
    bind(app.server, data)
    protect(app, host)
    app.server.config["MAX_CONTENT_LENGTH"] = 16_000_000  # bytes; the largest upload is half of that
    downloads.offer(app.server, data.downloads)
    exports.offer(app.server, data)
    app.index_string = frame.index(app)
    app.layout = frame.layout
    frame.register(app)
    _finish(app)
    return app


def _finish(app: Dash) -> None:
    """Let Dash do now what it does at its first request.

    Two first requests at once would find it half done, and a second app in the same process would take
    the callbacks of the pages for its own.
    """
    with app.server.test_request_context("/", headers={"Host": "localhost"}):
        app.server.preprocess_request()
