"""The dashboard: explore what searches found, in a browser on this machine.

It is ``dashboard`` in a checkout and ``supersam.dashboard`` in a wheel, so its modules import each other relatively.
"""

from .app import create_app
from .server import serve
from .static import build

__all__ = ["build", "create_app", "serve"]
