"""Every component id, so that no two pages use the same one: ``<page>-<what>``."""

THEME = "frame-theme"  # "light" or "dark"
THEME_TOGGLE = "frame-theme-toggle"

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
COPY = "explore-copy"
COPY_BUTTON = "explore-copy-button"
SPOKEN = "explore-spoken"
URL_WRITER = "explore-url-writer"

CHOICE = "explore-choice"  # type of the pattern ids of the buttons
ROW = "explore-row"  # type of the pattern ids of the table's rows


def choice(name: str, key: str) -> dict[str, str]:
    """Return the id of the button that sets ``name`` to ``key``."""
    return {"type": CHOICE, "name": name, "key": key}


def row(digest: str) -> dict[str, str]:
    """Return the id of the table row of a subnet."""
    return {"type": ROW, "digest": digest}
