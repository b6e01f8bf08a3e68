"""What was found: candidates, Pareto fronts, runs and the shipped archive (no torch)."""

from supersam.results.archive import Archive, load_archive
from supersam.results.candidate import Accuracy, Candidate
from supersam.results.pareto import best_within, hypervolume, pareto_front
from supersam.results.run import Run, list_runs

__all__ = [
    "Accuracy",
    "Archive",
    "Candidate",
    "Run",
    "best_within",
    "hypervolume",
    "list_runs",
    "load_archive",
    "pareto_front",
]
