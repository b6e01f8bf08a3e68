"""``python -m supersam``."""

from supersam.cli.main import main

main()
