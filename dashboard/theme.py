"""The colours of the figures, light and dark, from the palette of Okabe and Ito for every kind of colour vision.

The pages' own colours are in assets/style.css; those that occur in both have the same values.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Palette:
    """Colours by what they are for."""

    ink: str
    muted: str
    grid: str
    panel: str
    front: str
    interval: str
    dominated: str
    budget: str
    beyond: str  # laid over the region beyond the budget
    best: str


PALETTES = {
    "light": Palette(
        ink="#1b1f24",
        muted="#59636e",
        grid="#e4e7eb",
        panel="#ffffff",
        front="#0072b2",
        interval="rgba(0,114,178,0.45)",
        dominated="#9aa4af",
        budget="#d55e00",
        beyond="rgba(27,31,36,0.06)",
        best="#007a59",
    ),
    "dark": Palette(
        ink="#e8ebef",
        muted="#a3adb8",
        grid="#2f363f",
        panel="#1a1e24",
        front="#56b4e9",
        interval="rgba(86,180,233,0.5)",
        dominated="#6f7a86",
        budget="#e69f00",
        beyond="rgba(0,0,0,0.35)",
        best="#2fc79a",
    ),
}


def palette(name: object) -> Palette:
    """Return the palette of a theme, light for a name that is not one."""
    return PALETTES["dark" if name == "dark" else "light"]


# Marks of the states of a run: a shape each, so that no colour has to be told apart.
MARKS = {"running": "▶ ", "finished": "✓ ", "stalled": "‖ ", "failed": "✗ "}
