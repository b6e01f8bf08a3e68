"""Fit the estimated tables of devices nobody here has to what others published, and check them.

    python experiments/0009-estimated-devices/fit.py          # write tables, results.csv, known.csv, README and figures
    python experiments/0009-estimated-devices/fit.py --check  # exit 1 if a shipped file is not what the rows give

Three ways, each in a file: ``devices.py`` fits the prices of operations to a device's own rows, ``jetsons.py`` carries
the prices of the AGX Orin over to smaller Jetsons, ``known.py`` holds predictions against published SAM encoders.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # the folder of an experiment is not a package

import devices  # noqa: E402
import jetsons  # noqa: E402
import known  # noqa: E402
import report  # noqa: E402

from supersam.latency import LatencyTable  # noqa: E402

TABLES = HERE.parents[1] / "latency_tables"
README = HERE / "README.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, or check that they are what the rows give; return the exit code."""
    parser = argparse.ArgumentParser(description="Fit the estimated latency tables.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a shipped file differs")
    options = parser.parse_args(arguments)
    fits = devices.fit_all()
    transfers = jetsons.transfer_all()
    encoders = known.predict_all(fits)
    tables: list[LatencyTable] = [devices.make_table(fit) for fit in fits if fit.device.shipped]
    tables += [jetsons.make_table(transfer) for transfer in transfers]
    texts = {TABLES / f"{table.name}.json": table.to_json() for table in tables}
    texts[HERE / "results.csv"] = report.results_csv(fits)
    texts[HERE / "transfers.csv"] = report.transfers_csv(transfers)
    texts[HERE / "known.csv"] = report.known_csv(encoders)
    texts[README] = report.fill(README.read_text(encoding="utf-8"), fits, transfers, encoders)
    if options.check:
        # Figures are left out: fonts and rasteriser differ between versions of matplotlib.
        differing = [p for p, text in texts.items() if not p.is_file() or p.read_text(encoding="utf-8") != text]
        for path in differing:
            print(f"{path.name} is not what the rows give; run this again without --check")
        return 1 if differing else 0
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8", newline="\n")
    report.draw_fits(fits, transfers, HERE / "figure.png")
    report.draw_known(encoders, HERE / "known.png")
    print(report.devices_table(fits), report.transfers_table(transfers), report.known_table(encoders), sep="\n\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
