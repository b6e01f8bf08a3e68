"""Every component id, so that no two pages use the same one: ``<page>-<what>``."""

THEME = "frame-theme"  # "light" or "dark"
THEME_TOGGLE = "frame-theme-toggle"
NAV = "frame-nav"  # type of the pattern ids of the links to the pages
LOCATION = "_pages_location"  # dash's own

STATE = "explore-state"  # what was chosen, as in the URL but without the subnet
SUBNET = "explore-subnet"  # the digest that was chosen, or None to follow the best
REVISION = "explore-revision"  # changes when a file on disk does
SHOWN = "explore-shown"  # what the page made of the choices
SELECTED = "explore-selected"  # the subnet of the details, with its place in the figure
TICK = "explore-tick"

CONTROLS = "explore-controls"
SOURCES = "explore-sources"
DEVICES = "explore-devices"
RISKS = "explore-risks"
BUDGET = "explore-budget"
BUDGET_PROBLEM = "explore-budget-problem"
NOTICES = "explore-notices"
SUMMARY = "explore-summary"
CAPTION = "explore-caption"
BASE = "explore-base"  # the figure before the selected point is marked
FIGURE = "explore-figure"
CHART = "explore-chart"  # the focusable frame around the figure
EMPTY = "explore-empty"
RESULTS = "explore-results"
TABLE = "explore-table"
HEADING = "explore-heading"  # of the details
DETAILS = "explore-details"
COMMAND = "explore-command"
EXTRACTED = "explore-extracted"  # checkpoints of the selected subnet
COPY = "explore-copy"
COPY_BUTTON = "explore-copy-button"
SPOKEN = "explore-spoken"
FILTERS = "explore-filters"
PARAMS = "explore-params"  # fields of the filters
MACS = "explore-macs"
FILTERED = "explore-filtered"  # how much passes
SWITCH = "explore-switch"
COMPARE = "explore-compare"
EXPORTS = "explore-exports"
SVG = "explore-svg"
SVG_WRITER = "explore-svg-writer"
PUBLISHED = "explore-published"
URL_WRITER = "explore-url-writer"

CHOICE = "explore-choice"  # type of the pattern ids of the buttons
ROW = "explore-row"  # type of the pattern ids of the table's rows

# The page of a run
RUN_SOURCE = "run-source"  # the key of the run, or None where there is none
RUN_REVISION = "run-revision"
RUN_TICK = "run-tick"
RUN_WHERE = "run-where"  # the text of the filter
RUN_WHERE_PROBLEM = "run-where-problem"
RUN_FILTER = "run-filter"  # the filter in use, as text
RUN_STATE = "run-state"
RUN_SIDE = "run-side"
RUN_CURVES = "run-curves"
RUN_REFERENCE = "run-reference"  # what the hypervolume is measured from
RUN_PARALLEL = "run-parallel"
RUN_PARALLEL_NOTE = "run-parallel-note"
RUN_TABLE = "run-table"
RUN_URL_WRITER = "run-url-writer"
RUN_LINES = "run-lines"  # what the parallel coordinates draw
RUN_DRAWN = "run-drawn"

# The playground
PLAY_STATE = "play-state"  # place of each choice, by variable
PLAY_NAMES = "play-names"  # what can be chosen, by variable
PLAY_URL_WRITER = "play-url-writer"
PLAY_RANGE = "play-range"  # types of the pattern ids
PLAY_TYPE = "play-type"
PLAY_VALUE = "play-value"
PLAY_ANSWER = "play-answer"
PLAY_NEAREST = "play-nearest"
PLAY_UPLOAD = "play-upload"
PLAY_PROBLEM = "play-problem"
PLAY_IMAGE = "play-image"
PLAY_SEGMENT = "play-segment"
PLAY_MASKS = "play-masks"
AGREEMENT = "devices-agreement"
AGREEMENT_OF = "devices-agreement-of"


def play_range(name: str) -> dict[str, str]:
    """Return the id of the slider of a variable."""
    return {"type": PLAY_RANGE, "name": name}


def play_value(name: str) -> dict[str, str]:
    """Return the id of what a slider says."""
    return {"type": PLAY_VALUE, "name": name}


def play_type(name: str, key: str) -> dict[str, str]:
    """Return the id of the button that puts variable ``name`` at place ``key``."""
    return {"type": PLAY_TYPE, "name": name, "key": key}


def nav(path: str) -> dict[str, str]:
    """Return the id of the link to the page at ``path``."""
    return {"type": NAV, "path": path}


def choice(name: str, key: str) -> dict[str, str]:
    """Return the id of the button that sets ``name`` to ``key``."""
    return {"type": CHOICE, "name": name, "key": key}


def row(digest: str) -> dict[str, str]:
    """Return the id of the table row of a subnet."""
    return {"type": ROW, "digest": digest}
