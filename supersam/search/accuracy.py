"""Where the search gets accuracies from: measured on images, or from the archive and a model fitted to it."""

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from supersam.errors import MissingError
from supersam.results import Accuracy, Archive
from supersam.results.ridge import RidgeAccuracy
from supersam.search.objective import Objective
from supersam.space import AnyArchitecture, SearchSpace

if TYPE_CHECKING:
    from supersam.search.ledger import Ledger


class AccuracySource(Protocol):
    """Gives the accuracy of an architecture."""

    def __call__(self, architecture: AnyArchitecture) -> Accuracy: ...


@runtime_checkable
class SharedAccuracy(Protocol):
    """One whose answers depend on what all workers of a study have found, also before it was continued."""

    def learn_from(self, ledger: "Ledger") -> None:
        """Take in what the study knows; called before each evaluation."""

    def notes(self) -> dict[str, Any]:
        """Return what the other workers should know of the last evaluation; kept as attributes of its trial."""


class ArchiveAccuracy(RidgeAccuracy):
    """The measured accuracy where the archive has it, else the prediction of ``RidgeAccuracy``, of one objective."""

    def __init__(self, archive: Archive, space: SearchSpace, objective: Objective = Objective()) -> None:
        weighed = {a: objective.apply(found) for a, found in archive.measured.items() if space.contains(a)}
        try:
            super().__init__(Archive(archive.protocol, weighed), space)
        except MissingError as problem:
            raise MissingError(
                f"the archive has {len(weighed)} measured subnets of {space.name}, too few to predict from; "
                "give images to measure on: --data DIR (and --weights FILE for a space of your own)"
            ) from problem
