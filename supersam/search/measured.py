"""Accuracy by true evaluation on images: the subnet as it would be extracted, its statistics recalibrated first."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from supersam.results import Accuracy
from supersam.search.accuracy_cache import AccuracyCache, Measurement
from supersam.search.halving import RUNGS, Halving, split_rungs
from supersam.search.history import REACHED
from supersam.search.objective import Objective
from supersam.space import AnyArchitecture

if TYPE_CHECKING:
    from supersam.search.ledger import Ledger

CALIBRATION_IMAGES = 48  # for the BatchNorm statistics of a measured subnet


@dataclass(frozen=True)
class MeasuredAccuracy:
    """Evaluates subnets of a supernet, each at most once.

    Args:
        model: a ``Sam`` whose image encoder is a supernet.
        packs: what is evaluated on; calibration: what the statistics are taken from.
        images: of each pack, evenly spread.
        halving: gives architectures up after a part of the images; None measures all of them on all images.
        device: tells where subnets are evaluated, a device of PyTorch.
    """

    model: Any
    packs: list[Any]
    calibration: list[Any]
    images: int
    masks_per_image: int
    prompts: list[str]
    cache: AccuracyCache
    objective: Objective = field(default_factory=Objective)
    halving: Halving | None = None
    device: Callable[[], Any] = lambda: "cpu"

    def __call__(self, architecture: AnyArchitecture) -> Accuracy:
        """Return the accuracy of an architecture.

        Raises:
            Pruned: if it was given up after a part of the images.
        """
        found = self.cache.get(architecture.digest)
        if found is None or (self.halving is not None and not found.rungs):
            found = self._measure(architecture)
            self.cache.put(architecture.digest, found)
        else:  # given up where it was, or would have been, given up without the cache
            for rung, (accuracy, n_images) in enumerate(found.rungs):
                self._check(rung, architecture, accuracy, n_images)
        return self.objective.apply(found.accuracy)

    def learn_from(self, ledger: "Ledger") -> None:
        """Compare with what all workers' architectures reached after a part of the images."""
        if self.halving is not None:
            self.halving.learn_from(ledger.reached.values())

    def notes(self) -> dict[str, Any]:
        """Return what the last architecture reached after a part of the images."""
        return {REACHED: self.halving.reached} if self.halving is not None and self.halving.reached else {}

    def in_full(self) -> "MeasuredAccuracy":
        """Return the same without giving anything up."""
        return replace(self, halving=None)

    def _check(self, rung: int, architecture: AnyArchitecture, accuracy: Accuracy, n_images: int) -> None:
        if self.halving is not None:
            self.halving.check(rung, architecture, self.objective.apply(accuracy).value, n_images)

    def _measure(self, architecture: AnyArchitecture) -> Measurement:
        from supersam.checkpoints.subnets import extract_subnet
        from supersam.evaluate.evaluator import Report, calibration_batches, evaluate, spread
        from supersam.evaluate.recalibrate import recalibrate

        subnet = extract_subnet(self.model, architecture).to(self.device())
        recalibrate(
            subnet.image_encoder, calibration_batches(self.calibration, architecture.resolution, CALIBRATION_IMAGES)
        )
        chosen = {pack.name: split_rungs(spread(pack.records, self.images)) for pack in self.packs}
        report, n_images = Report(0, {}), 0
        rungs: list[tuple[Accuracy, int]] = []
        for rung in range(len(next(iter(chosen.values())))):
            packs = [replace(pack, records=tuple(chosen[pack.name][rung])) for pack in self.packs]
            packs = [pack for pack in packs if pack.records]
            if packs:
                more = evaluate(subnet, architecture.resolution, packs, self.prompts, None, self.masks_per_image)
                report = joined(report, more)
                n_images += more.n_images
            if rung < len(RUNGS):
                rungs.append((report.accuracy(), n_images))
                self._check(rung, architecture, *rungs[-1])
        return Measurement(report.accuracy(), tuple(rungs))


def joined(one: Any, other: Any) -> Any:
    """Return the report over the images of both."""
    from supersam.evaluate.evaluator import PackScores, Report

    packs: dict[str, PackScores] = {}
    for report in (one, other):
        for name, scores in report.packs.items():
            into = packs.setdefault(name, PackScores())
            for kept, added in ((into.prompts, scores.prompts), (into.trivial, scores.trivial)):
                for key, values in added.items():
                    kept[key] = kept[key] + values
            into.empty += scores.empty
            before = 1 + max(into.images, default=-1)
            into.images += [before + number for number in scores.images]
    return Report(one.n_images + other.n_images, packs)
