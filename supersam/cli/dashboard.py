"""``supersam dashboard``: look at fronts in a browser."""

from pathlib import Path
from typing import Annotated

import typer

from supersam.cli._output import print_json, say


def dashboard(
    runs: Annotated[Path, typer.Argument(help="Folder of runs, or one run.")] = Path("runs"),
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Default: 8050, or the next free one.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    build: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a page that opens from disk into DIR instead of serving.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the address, or the path, as JSON.")] = False,
) -> None:
    """Serve the dashboard on this machine; nothing is sent anywhere."""
    from supersam._paths import load_dashboard
    from supersam.errors import EnvironmentProblem

    try:
        module = load_dashboard()
    except ModuleNotFoundError as problem:
        raise EnvironmentProblem(f'the dashboard needs {problem.name}: pip install "supersam[dashboard]"') from problem
    if not runs.exists():
        say(f"There is no folder {runs} yet: the shipped archive is shown, and runs as soon as there are some.")
    if build is not None:
        path = module.build(runs, build)
        if json:
            print_json({"path": str(path), "bytes": path.stat().st_size})
        say(f"{path}: {path.stat().st_size / 1e6:.1f} MB, open it in a browser; it needs no server and no network")
        return
    if host not in ("127.0.0.1", "localhost", "::1"):
        say(f"Warning: listening on {host}, everyone who reaches this machine can read your runs.")

    def tell(url: str) -> None:
        if json:
            print_json({"url": url})
        say(f"SuperSAM dashboard: {url} (Ctrl-C to stop)")

    module.serve(runs=runs, host=host, port=port, on_ready=tell)
