"""What one backward pass runs: one subnet on one batch. A module, so that DDP and FSDP can wrap it."""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from supersam.sam.model import Masks, Prompts, Sam
from supersam.space import AnyArchitecture
from supersam.train.batches import Batch
from supersam.train.config import FocalLoss, Inplace
from supersam.train.distillation import Distiller
from supersam.train.distillation_losses import Outputs, Target, covered, embedding_loss, inplace_masks_loss
from supersam.train.losses import SAM_FOCAL, prompt_loss
from supersam.train.prompting import answers, as_points, corrective_clicks, with_click

NO_INPLACE = Inplace(embedding=0, masks=0)


@dataclass(frozen=True)
class Settings:
    """What a step decides for all its subnets."""

    balance: float = 0.0  # share of the balanced focal loss
    focal: FocalLoss = SAM_FOCAL  # of the other share
    correction_rounds: int = 0
    give_masks: bool = False  # whether corrections see the last answer as a mask prompt
    seed: int = 0  # of the corrective clicks
    supervised: float = 1.0  # weight of the loss against the masks of the data
    inplace: Inplace = NO_INPLACE  # weights of the distances to the largest subnet
    progress: float = 0.0  # of the training, 0 to 1


class Outcome(NamedTuple):
    """What a subnet did on a batch; only the loss has a graph. A tuple, since FSDP2 looks for tensors in those."""

    loss: Tensor  # a scalar
    alone: Tensor  # the same without what the largest subnet teaches, so that subnets can be compared
    embedding: Tensor  # (B, 256, h, w)
    masks: Masks | None  # the first answers, if anybody asks for them


class Objective(nn.Module):
    """The loss of a subnet on a batch: SAM's against the masks of the data, and distances to teachers."""

    def __init__(
        self, model: Sam, autocast: str = "none", compile_decoder: bool = False, distiller: Distiller | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.autocast = autocast
        self.distiller = distiller
        self.projections = None if distiller is None else distiller.projections  # they learn too
        self._decode = torch.compile(model.decode, dynamic=True) if compile_decoder else model.decode

    def forward(
        self,
        batch: Batch,
        architecture: AnyArchitecture,
        settings: Settings,
        target: Target | None = None,
        largest: Outcome | None = None,
    ) -> Outcome:
        """Run the encoder once and the decoder for every round of prompts.

        Args:
            target: what the teacher says to the batch, if one is distilled.
            largest: what the largest subnet did on the batch, for the distillation in place.
        """
        outputs = self._encode(batch.images, architecture, settings, target)
        loss, masks = torch.zeros((), device=batch.images.device), None
        if settings.supervised or settings.inplace.masks:
            masks = self._answer(outputs.embedding, batch.prompts)
            loss = loss + settings.supervised * self._supervised(outputs.embedding, batch, masks, settings)
        if target is not None:
            loss = loss + self._distance_to_teacher(outputs, target, settings)
        alone = loss.detach()
        if largest is not None:
            loss = loss + self._distance_to_largest(outputs.embedding, masks, largest, batch.images, settings.inplace)
        kept = None if masks is None else Masks(masks.logits.detach(), masks.iou.detach())
        return Outcome(loss, alone, outputs.embedding.detach(), kept)

    def teach(self, batch: Batch, settings: Settings) -> Target | None:
        """Return what the teacher says to a batch, if something is learned from one at this point."""
        if self.distiller is None or not self.distiller.active(settings.progress):
            return None
        with self._reduced("all"):
            return self.distiller.target(batch, settings.progress)

    def _supervised(self, embedding: Tensor, batch: Batch, masks: Masks, settings: Settings) -> Tensor:
        losses = [prompt_loss(masks, batch.targets, batch.n_points, settings.balance, settings.focal)]
        if settings.correction_rounds:
            losses += self._correct(embedding, batch, masks, settings)
        return torch.stack(losses).mean()

    def _encode(
        self, images: Tensor, architecture: AnyArchitecture, settings: Settings, target: Target | None
    ) -> Outputs:
        supernet = self.model.image_encoder
        with self._reduced("all"):
            if target is None or self.distiller is None:
                return Outputs(supernet(images, architecture))
            return self.distiller.encode(supernet, images, architecture, settings.progress)  # type: ignore[arg-type]

    def _distance_to_teacher(self, outputs: Outputs, target: Target, settings: Settings) -> Tensor:
        assert self.distiller is not None
        generator = torch.Generator(outputs.embedding.device).manual_seed(settings.seed)
        precision = partial(self._reduced, "decoder", "all")
        found = self.distiller.losses(outputs, target, self.model, settings.progress, generator, precision)
        return torch.stack(list(found.values())).sum() if found else torch.zeros((), device=outputs.embedding.device)

    @staticmethod
    def _distance_to_largest(
        embedding: Tensor, masks: Masks | None, largest: Outcome, images: Tensor, weights: Inplace
    ) -> Tensor:
        inside = covered(images, embedding.shape[-1])
        distance = weights.embedding * embedding_loss(embedding, largest.embedding, inside)
        if weights.masks:
            assert masks is not None  # both were asked for
            assert largest.masks is not None
            distance = distance + weights.masks * inplace_masks_loss(masks, largest.masks, inside)
        return distance

    def _correct(self, embedding: Tensor, batch: Batch, masks: Masks, settings: Settings) -> list[Tensor]:
        generator = torch.Generator(embedding.device).manual_seed(settings.seed)
        points, labels = as_points(batch.prompts)
        last, losses = answers(masks, batch.n_points), []
        share = covered(batch.images, batch.targets.shape[-1])
        for _ in range(settings.correction_rounds):
            click, label = corrective_clicks(last, batch.targets, generator, share)
            points, labels = with_click(points, labels, click, label)
            prompts = Prompts(points, labels, masks=last if settings.give_masks else None)
            masks = self._answer(embedding, prompts)
            # several prompts are not ambiguous any more: the single mask learns
            losses.append(prompt_loss(masks, batch.targets, 0, settings.balance, settings.focal))
            last = answers(masks, 0)
        return losses

    def _answer(self, embedding: Tensor, prompts: Prompts) -> Masks:
        with self._reduced("decoder", "all"):
            masks: Masks = self._decode(embedding, prompts)
        return masks.single()

    def _reduced(self, *where: str) -> torch.autocast:
        device = next(self.model.parameters()).device.type
        return torch.autocast(device, torch.bfloat16, enabled=self.autocast in where)
