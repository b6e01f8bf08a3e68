"""Zoo: published systems with every figure by its source, and the checkpoints extracted here."""

from typing import Any

from dash import html, register_page

from .. import components, zoo_parts
from ..current import current_data
from ..query import texts
from ..zoo_view import KEYS, look_at_zoo

register_page(__name__, path="/zoo", name="Zoo", title="Zoo - SuperSAM", order=2)


def layout(**query: Any) -> html.Div:
    """``/zoo?name=mobile-sam`` opens a card; ``licence``, ``category`` and ``sort`` choose the table."""
    data = current_data()
    view = look_at_zoo(data.zoo, texts(query, KEYS))
    card = [zoo_parts.card(view)] if view.chosen else []
    table = html.Section(zoo_parts.table(view), className="panel area-table")
    return html.Div(
        [
            html.H1("Zoo"),
            html.P(
                "Efficient SAMs that others published. Their figures come from different protocols and machines: "
                "compare within one source, not across. None was measured by this project unless it says so.",
                className="lead",
            ),
            html.Div(components.notices(view.notices), role="status"),
            zoo_parts.filters(view),
            html.Div([table, *card], className="split" if card else "single"),
            zoo_parts.downloads(data.downloads.all(), str(data.runs)),
        ],
        className="zoo",
    )
