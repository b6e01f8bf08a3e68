"""``data: synthetic`` is written when a training starts; commands that read images need a folder."""

from typing import Any

from supersam.errors import UsageError


def refuse_synthetic(data: Any, command: str) -> None:
    """Say what to do instead, before a folder named ``synthetic`` is looked for.

    Raises:
        UsageError: if ``data`` is the seeded shapes.
    """
    if str(data) == "synthetic":
        raise UsageError(
            f"data: synthetic stands for shapes that only `supersam train` makes, and {command} reads a folder; give "
            "one with images and masks, such as the folder `synthetic` in the `out` of a run that has begun"
        )
