"""Dash components as plain HTML, for pages without a server."""

from collections.abc import Mapping
from html import escape
from typing import Any

VOID = frozenset({"img", "br", "hr", "input"})
NAMES = {"className": "class", "colSpan": "colspan", "htmlFor": "for", "tabIndex": "tabindex"}
KEPT = frozenset({"class", "colspan", "for", "tabindex", "title", "role", "scope", "style", "hidden", "open", "href",
                  "src", "alt", "lang", "disabled", "type", "rel", "target"})  # fmt: skip


def render(component: Any) -> str:
    """Return the HTML of a component, a text or a list of them; links within the dashboard become their text."""
    if component is None:
        return ""
    if isinstance(component, list | tuple):
        return "".join(map(render, component))
    if not hasattr(component, "to_plotly_json"):
        return escape(str(component), quote=False)
    content = component.to_plotly_json()
    props = content["props"]
    if content["type"] == "Link":
        return render(props.get("children"))
    tag = content["type"].lower()
    start = f"<{tag}{_attributes(props)}>"
    return start if tag in VOID else f"{start}{render(props.get('children'))}</{tag}>"


def _attributes(props: Mapping[str, Any]) -> str:
    found = {NAMES.get(name, name): value for name, value in props.items()}
    if isinstance(props.get("id"), dict) and "digest" in props["id"]:
        found["data-digest"] = props["id"]["digest"]
    shown = {
        name: _style(value) if isinstance(value, dict) else value
        for name, value in found.items()
        if (name in KEPT or name.startswith(("aria-", "data-")))
        and not (value is None or value is False or value == "")
    }
    return "".join(f" {name}" if value is True else f' {name}="{escape(str(value))}"' for name, value in shown.items())


def _style(style: Mapping[str, Any]) -> str:
    return "; ".join(f"{name}: {value}" for name, value in style.items())
