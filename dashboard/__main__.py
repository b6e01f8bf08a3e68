"""``python -m dashboard [RUNS]``: the same as ``supersam dashboard``, for work on the dashboard itself."""

import argparse
import sys
from pathlib import Path

from supersam.errors import SuperSAMError

from . import serve


def main() -> int:
    """Serve until interrupted; return the exit code."""
    parser = argparse.ArgumentParser(description="Explore what searches found, in a browser on this machine.")
    parser.add_argument("runs", nargs="?", type=Path, default=Path("runs"), help="folder of runs, or one run")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, help="default: 8050 or the next that is free")
    parser.add_argument("--tables", type=Path, help="folder of latency tables instead of the shipped ones")
    asked = parser.parse_args()
    try:
        serve(asked.runs, asked.host, asked.port, lambda url: print(url, flush=True), asked.tables)
    except SuperSAMError as problem:
        print(f"Error: {problem}", file=sys.stderr)
        return problem.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
