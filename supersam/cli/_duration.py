"""How long something takes, for people."""


def duration(seconds: float) -> str:
    """Return seconds in the unit that suits them, like ``0.4 s``, ``12.0 min`` or ``3.1 hours``."""
    for unit, size in (("hours", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
