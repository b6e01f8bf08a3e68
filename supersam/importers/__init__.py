"""Times that others measured, from the files they were published in, as latency tables (no torch)."""

from supersam.importers.aihub import import_aihub
from supersam.importers.conditions import Conditions
from supersam.importers.plain import import_csv
from supersam.importers.timm import import_timm
from supersam.importers.trtexec import import_trtexec

__all__ = ["Conditions", "import_aihub", "import_csv", "import_timm", "import_trtexec"]
