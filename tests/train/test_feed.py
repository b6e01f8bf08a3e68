"""Batches: the same whoever makes them, streams read once by somebody, and problems told in one line."""

import json
import multiprocessing
import shutil
import subprocess

import pytest
import torch

from supersam.data.skipped import Skipped
from supersam.data.sources import open_sources
from supersam.errors import DataError
from supersam.space import load_space
from supersam.train.engine import Workers
from supersam.train.feed import Feed

CPU = torch.device("cpu")


def feed_of(config, rank=0, world=1):
    sources = open_sources(config.data, config.split, Skipped())
    return Feed(sources, config, load_space(config.space), Workers(rank, world, CPU))


def same(one, other):
    tensors = [(b.images, b.targets, b.prompts.points, b.prompts.labels, b.prompts.boxes) for b in (one, other)]
    return all(torch.equal(a, b) for a, b in zip(*tensors, strict=True))


def test_batches_do_not_depend_on_where_a_run_begins_or_on_who_makes_them(changed):
    alone = list(feed_of(changed(steps=5)).batches(0))
    resumed = list(feed_of(changed(steps=5)).batches(3))
    with_workers = list(feed_of(changed(steps=5, engine={"loader_workers": 2})).batches(3))

    assert [len(step) for step in alone] == [1] * 5
    for expected, again, made in zip(alone[3:], resumed, with_workers, strict=True):
        assert same(expected[0], again[0])
        assert same(expected[0], made[0])
    assert not same(alone[0][0], alone[1][0])


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_carry_their_images_at_the_resolution_of_a_teacher(changed, workers):
    feed = feed_of(changed(steps=2, engine={"loader_workers": workers}))
    feed.teacher_resolution = 128

    shown = [batch for step in feed.batches(0) for batch in step]

    assert [batch.images.shape[-1] for batch in shown] == [64, 64]
    assert [batch.teacher_images.shape[-1] for batch in shown] == [128, 128]
    assert next(feed_of(changed(steps=2)).batches(0))[0].teacher_images is None


def test_two_processes_share_the_batches_of_one_that_accumulates_two(changed):
    (both,) = feed_of(changed(steps=1, engine={"accumulate": 2})).batches(0)
    apart = [next(feed_of(changed(steps=1), rank, 2).batches(0))[0] for rank in (0, 1)]

    assert all(map(same, both, apart))
    assert not same(*apart)


def test_batches_lie_in_memory_that_a_gpu_can_copy_from(changed, monkeypatch):
    """DataLoader asks types of ours by this method, and hands over unchanged what has none."""
    feed = feed_of(changed(steps=1))
    feed.teacher_resolution = 128
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor.shape) or tensor.clone())

    made = feed[0, 0]
    batch = made.pin_memory().batch

    prompts = made.batch.prompts
    tensors = [made.batch.images, made.batch.targets, made.batch.teacher_images, *vars(prompts).values()]
    assert sorted(pinned) == sorted(tensor.shape for tensor in tensors if tensor is not None)
    assert same(batch, made.batch)


def test_samples_show_other_images_and_move_nothing(changed):
    feed = feed_of(changed(steps=2))
    samples = feed.samples(128, 3)

    one, two = next(samples), next(samples)

    assert one.images.shape == (3, 3, 128, 128)
    assert not same(one, two)
    assert same(next(feed.batches(0))[0], next(feed_of(changed(steps=2)).batches(0))[0])


@pytest.mark.parametrize(("n_points", "n_boxes"), [(2, 0), (0, 3), (1, 2)])
def test_a_batch_asks_by_points_by_boxes_or_by_both(changed, n_points, n_boxes):
    (step,) = feed_of(changed(steps=1, points_per_image=n_points, boxes_per_image=n_boxes)).batches(0)
    prompts, targets = step[0].prompts, step[0].targets

    assert targets.shape == (2, n_points + n_boxes, 16, 16)
    assert step[0].n_points == n_points
    assert (prompts.points is None) == (n_points == 0)
    assert (prompts.boxes is None) == (n_boxes == 0)


def test_points_lie_on_their_objects_and_boxes_around_them(changed):
    config = changed(steps=12, points_per_image=2, boxes_per_image=2, phases=[{"resolution_weights": {128: 1}}])
    for (batch,) in feed_of(config).batches(0):
        # half a pixel of the frame is added by SAM; a pixel of the targets is 32 of the frame
        cell = ((batch.prompts.points[:, :, 0] + 0.5) / 32).long()
        index = cell[..., 1] * 32 + cell[..., 0]
        assert (batch.targets[:, :2].flatten(2).gather(2, index.unsqueeze(2)) > 0).all()
        boxes = batch.prompts.boxes
        assert (boxes[..., 2:] > boxes[..., :2]).all()
        centre = ((boxes[..., :2] + boxes[..., 2:]) / 64).long().clamp(max=31)
        inside = batch.targets[:, 2:].flatten(2).gather(2, (centre[..., 1] * 32 + centre[..., 0]).unsqueeze(2))
        assert inside.mean() > 0.3


@pytest.mark.parametrize("workers", [0, 1])
def test_too_much_damage_is_one_line_also_out_of_a_worker(changed, shapes, tmp_path, tells, workers):
    damaged = tmp_path / "damaged"
    shutil.copytree(shapes, damaged)
    for image in (damaged / "images").iterdir():
        image.write_bytes(b"no image")
    config = changed(data=damaged, steps=60, images_per_step=2, engine={"loader_workers": workers})

    feed = feed_of(config)

    with tells(DataError, "file damaged"):
        list(feed.batches(0))
    assert feed.skipped.count("image") == feed.skipped.seen["image"] == 50


def test_a_worker_is_ended_by_its_training_and_by_nobody_else(changed):
    batches = feed_of(changed(steps=9, engine={"loader_workers": 1})).batches(0)
    next(batches)
    (worker,) = multiprocessing.active_children()

    for name in ("TERM", "INT"):  # of another process, as a terminal and a scheduler send it to the whole group
        subprocess.run(["kill", f"-{name}", str(worker.pid)], check=True)
    assert len(list(batches)) == 8  # torch raises here when a worker has died

    batches = feed_of(changed(steps=9, engine={"loader_workers": 1})).batches(0)
    next(batches)
    (worker,) = multiprocessing.active_children()
    worker.terminate()
    worker.join(60)
    assert worker.exitcode == 0


class Recorded:
    """Stands for a loader: says for which part of the streams it was made."""

    made: list[tuple[int, int, int, int]]

    def __init__(self, sources, augmentation, *, rank, world, worker, workers, **_):
        self.made.append((rank, world, worker, workers))
        self.skipped, self.place = Skipped(), 0

    def state(self):
        return [[self.place]]

    def restore(self, state):
        self.place = state[0][0]


@pytest.fixture
def recorded(monkeypatch):
    from supersam.train import feed

    def advance(loader, *_):
        loader.place += 1
        return loader.place

    Recorded.made = []
    monkeypatch.setattr(feed, "Loader", Recorded)
    monkeypatch.setattr(feed, "make_batch", advance)
    return Recorded.made


@pytest.mark.parametrize("accumulate", [1, 2, 3, 4])
@pytest.mark.parametrize("workers", [0, 1, 2, 3, 4])
def test_every_part_of_a_stream_is_read_by_exactly_one_worker(changed, recorded, accumulate, workers):
    engine = {"accumulate": accumulate, "loader_workers": workers}
    readers: dict[tuple[int, ...], set[int]] = {}
    for rank in (0, 1):
        feed = feed_of(changed(steps=40, engine=engine), rank, 2)
        tasks = [(step, number) for step in range(7, 40) for number in range(accumulate)]
        for index, task in enumerate(tasks):
            (maker,) = feed[task].positions
            number, role = map(int, maker.split("/"))
            place = (rank * accumulate + number, role)
            readers.setdefault(place, set()).add(index % max(1, workers))  # how DataLoader deals tasks

    assert all(len(who) == 1 for who in readers.values())
    (parts,) = {(world, workers) for _, world, _, workers in recorded}
    assert set(readers) == {(rank, worker) for rank in range(parts[0]) for worker in range(parts[1])}


def test_positions_are_those_of_the_batches_that_were_taken(changed, recorded):
    feed = feed_of(changed(steps=10))
    batches = feed.batches(0)
    for _ in range(4):
        next(batches)
    assert feed.positions == {"0/0": [[4]]}

    other = feed_of(changed(steps=10))
    other.positions = json.loads(json.dumps(feed.positions))
    assert next(other.batches(4)) == [5]
