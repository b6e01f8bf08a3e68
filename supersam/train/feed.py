"""Hands every step its batches, made here or ahead of time in worker processes (torch's DataLoader).

Batches from packs are a function of their step, whoever makes them. Of a stream every worker reads a part of its
own; with each batch comes how far its worker has read, and that is what a checkpoint keeps, so that batches made
ahead and not trained on are made again.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count as counted
from math import gcd

from torch.utils.data import DataLoader, Dataset

from supersam.data.loader import Loader
from supersam.data.skipped import Skipped
from supersam.data.sources import Source
from supersam.errors import SuperSAMError
from supersam.space import SearchSpace
from supersam.train.batches import Batch, make_batch
from supersam.train.config import TrainConfig
from supersam.train.engine import Workers
from supersam.train.feed_signals import heed_the_training_alone, held_back
from supersam.train.plan import images_of_batch, resolution_of_step

Task = tuple[int, int]  # step, number of the batch among those of the step in this process
Positions = dict[str, list[list[int]]]  # maker -> how far its streams were read


@dataclass(frozen=True)
class Made:
    """A batch and what its maker has to say."""

    batch: Batch
    positions: Positions
    skipped: Skipped

    def pin_memory(self) -> "Made":
        """Lock the tensors' memory, as DataLoader asks of types it does not know, so that a GPU can copy meanwhile."""
        return replace(self, batch=self.batch.pin_memory())


@dataclass(frozen=True)
class Failed:
    """Why there is no batch, and what was left out on the way."""

    problem: SuperSAMError
    skipped: Skipped


class Feed(Dataset[Made | Failed]):
    """The batches of one process."""

    def __init__(self, sources: list[Source], config: TrainConfig, space: SearchSpace, group: Workers) -> None:
        self.sources = sources
        self.skipped = Skipped()
        self.teacher_resolution: int | None = None  # at which batches also carry their images, for a teacher
        self.positions: Positions = {}
        self._config, self._space, self._group = config, space, group
        self._loaders: dict[Task, Loader] = {}

    def batches(self, first_step: int) -> Iterator[list[Batch]]:
        """Yield the batches of every step from ``first_step`` on."""
        engine = self._config.engine
        numbers = range(engine.accumulate)
        tasks = [(step, number) for step in range(first_step, self._config.steps) for number in numbers]
        made = (self[task] for task in tasks) if engine.loader_workers == 0 else self._made_ahead(tasks)
        for _ in range(first_step, self._config.steps):
            yield [self._take(next(made)) for _ in numbers]

    def samples(self, resolution: int, count: int) -> Iterator[Batch]:
        """Yield batches outside of the run, for calibration or to look at; the run's own are what they were."""
        loader = self._new_loader(0, 0)
        for step in counted():
            yield make_batch(loader, self._config, resolution, count, step, self.teacher_resolution)

    def __getitem__(self, task: Task) -> Made | Failed:
        """Make a batch; a problem is handed over, because one raised in a worker arrives with its traceback."""
        try:
            return self._make(*task)
        except SuperSAMError as problem:
            skipped = Skipped()
            for loader in self._loaders.values():
                skipped.merge(loader.skipped.take())
            return Failed(problem, skipped)

    def _make(self, step: int, number: int) -> Made:
        resolution = resolution_of_step(self._config, self._space, step)
        count = images_of_batch(self._config, self._space, resolution)
        # DataLoader deals tasks to its workers in turn, so a role is always that of one worker.
        engine = self._config.engine
        worker = (step * engine.accumulate + number) % max(1, engine.loader_workers)
        role = worker * self._n_makers // max(1, engine.loader_workers)
        loader = self._loader(number, role)
        batch = make_batch(loader, self._config, resolution, count, step, self.teacher_resolution)
        state = loader.state()
        return Made(batch, {_maker(number, role): state} if state else {}, loader.skipped.take())

    @property
    def _n_makers(self) -> int:
        """How many workers make the batches of one number: accumulated batches may be dealt apart."""
        engine = self._config.engine
        return max(1, engine.loader_workers // gcd(engine.loader_workers, engine.accumulate))

    def _made_ahead(self, tasks: list[Task]) -> Iterator[Made | Failed]:
        loader = DataLoader(
            self,
            batch_size=None,
            sampler=tasks,  # type: ignore[arg-type]  # its items are what __getitem__ is given
            num_workers=self._config.engine.loader_workers,
            pin_memory=self._group.device.type == "cuda",
            worker_init_fn=heed_the_training_alone,
        )
        with held_back():
            return iter(loader)

    def _loader(self, number: int, role: int) -> Loader:
        if (number, role) not in self._loaders:
            loader = self._new_loader(number, role)
            if _maker(number, role) in self.positions:
                loader.restore(self.positions[_maker(number, role)])
            self._loaders[number, role] = loader
        return self._loaders[number, role]

    def _new_loader(self, number: int, role: int) -> Loader:
        config, accumulate = self._config, self._config.engine.accumulate
        return Loader(
            self.sources,
            config.augmentation,
            seed=config.seed,
            rank=self._group.rank * accumulate + number,
            world=self._group.world * accumulate,
            worker=role,
            workers=self._n_makers,
            cache_gb=config.cache_gb / accumulate / self._n_makers,
            max_skipped_share=config.max_skipped_share,
        )

    def _take(self, made: Made | Failed) -> Batch:
        self.skipped.merge(made.skipped)
        if isinstance(made, Failed):
            raise made.problem
        self.positions |= made.positions
        self.skipped.check(self._config.max_skipped_share)
        return made.batch


def _maker(number: int, role: int) -> str:
    return f"{number}/{role}"
