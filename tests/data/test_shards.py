"""Streams of tar shards: every image once an epoch to one process, in one order, resumable, damage counted."""

import gzip
import shutil
import threading
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from supersam.data.shards import Position, Stream, StreamReader
from supersam.data.skipped import Skipped
from supersam.data.sources import open_sources
from supersam.data.tar_pairs import WAITING, Broken, Pair, read_pairs
from supersam.errors import DataError


def stream_of(folder: Path | str, **changes: object) -> Stream:
    (stream,) = open_sources(folder, "train")
    assert isinstance(stream, Stream)
    return Stream(**{**vars(stream), **changes})  # type: ignore[arg-type]


def reader(stream: Stream, rank: int = 0, world: int = 1, seed: int = 0) -> StreamReader:
    return StreamReader(stream, seed, rank, world, Skipped())


def epoch(stream: Stream, number: int, rank: int = 0, world: int = 1, seed: int = 0) -> list[str]:
    """The names of all images of an epoch of a process, in their order."""
    found, source = [], reader(stream, rank, world, seed)
    source.seek(Position(number))
    while True:
        record = next(source)
        if source.position.epoch != number:
            return found
        found.append(record.path.name)


@pytest.mark.parametrize(("n_shards", "world"), [(4, 1), (4, 2), (5, 2), (3, 3), (2, 5), (1, 2)])
def test_every_image_comes_once_an_epoch_to_one_process(tmp_path: Path, writer, n_shards: int, world: int) -> None:
    drawn = writer.draw(23, side=16)
    stream = stream_of(writer.shards(tmp_path, drawn, n_shards), buffer=4)

    for number in (0, 1):
        parts = [epoch(stream, number, rank, world) for rank in range(world)]
        assert sorted(name for part in parts for name in part) == [one.name for one in drawn]


def test_order_is_of_seed_and_epoch(tmp_path: Path, writer) -> None:
    stream = stream_of(writer.shards(tmp_path, writer.draw(24, side=16), 3), buffer=4)
    orders = {(seed, number): tuple(epoch(stream, number, seed=seed)) for seed in (0, 1) for number in (0, 1)}

    assert len(set(orders.values())) == 4
    assert all(tuple(epoch(stream, number, seed=seed)) == order for (seed, number), order in orders.items())
    assert orders[0, 0] != tuple(sorted(orders[0, 0]))


def test_images_of_a_shard_are_mixed_even_through_a_small_buffer(tmp_path: Path, writer) -> None:
    stream = stream_of(writer.shards(tmp_path, writer.draw(30, side=8), 1), buffer=8)
    order = np.array([int(name[3:]) for name in epoch(stream, 0)])

    assert (np.diff(order) != 1).mean() > 0.7


@pytest.mark.parametrize("n_shards", [1, 3])
def test_reader_sent_to_a_saved_position_goes_on_with_the_very_next_image(
    tmp_path: Path, writer, n_shards: int
) -> None:
    stream = stream_of(writer.shards(tmp_path, writer.draw(11, side=16), n_shards), buffer=3)
    whole = reader(stream, 1, 2, seed=5)
    positions, names = [], []
    for _ in range(20):
        positions.append(whole.position)
        names.append(next(whole).path.name)

    for start in (0, 3, 7, 12, 19):
        resumed = reader(stream, 1, 2, seed=5)
        resumed.seek(Position(*positions[start].to_list()))
        assert [next(resumed).path.name for _ in names[start:]] == names[start:]
    assert positions[19].epoch > 0


def test_files_of_a_pair_may_lie_apart(tmp_path: Path, writer) -> None:
    drawn = writer.draw(6)
    pairs = [writer.pair(one) for one in drawn]
    writer.tar(tmp_path / "a.tar", [pair[0] for pair in pairs] + [pair[1] for pair in reversed(pairs)])

    source = reader(stream_of(tmp_path))

    found = {record.path.name: record for record in (next(source) for _ in drawn)}
    assert all(np.array_equal(found[one.name].read(), one.pixels) for one in drawn)
    assert source.skipped.count("image") == 0


def test_files_without_a_partner_are_given_up_so_that_memory_is_bounded(tmp_path: Path, writer) -> None:
    (one,) = writer.draw(1)
    alone = [(f"{number}.jpg", b"") for number in range(WAITING + 5)]
    writer.tar(tmp_path / "a.tar", [*alone, *writer.pair(one)])
    source = reader(stream_of(tmp_path))
    read = read_pairs(str(tmp_path / "a.tar"))

    assert [next(read).name for _ in range(3)] == ["0", "1", "2"]  # before the end of the shard
    assert next(source).path.name == one.name
    next(source)
    assert source.skipped.reasons["image"]["annotations missing"] >= WAITING + 5


# Damage


def damaged(source: StreamReader) -> dict[str, dict[str, int]]:
    """What was counted in the first epoch."""
    while source.position.epoch == 0:
        next(source)
    return source.skipped.reasons


def test_missing_and_damaged_partners_are_counted_and_the_rest_is_read(tmp_path: Path, writer) -> None:
    drawn = writer.draw(9)
    files = {name: content for one in drawn for name, content in writer.pair(one)}
    del files["sa_002.png"], files["sa_004.json"]
    files["sa_006.json"] = b"{}"
    files["notes.txt"] = b"words"
    writer.tar(tmp_path / "a.tar", list(files.items()))
    source = reader(stream_of(tmp_path))

    names = [next(source).path.name for _ in range(6)]

    assert sorted(names) == [f"sa_00{number}" for number in (0, 1, 3, 5, 7, 8)]
    found = damaged(source)["image"]
    assert found == {
        "file missing": 1,
        "annotations missing": 1,
        "annotations damaged": 1,
    }
    assert source.skipped.examples["image"]["file missing"] == [f"{tmp_path}/a.tar/sa_002"]


@pytest.mark.parametrize("n_whole", [0, 1, 4])
def test_shard_that_breaks_off_gives_what_it_has(tmp_path: Path, writer, n_whole: int) -> None:
    drawn = writer.draw(12)
    writer.shards(tmp_path, drawn, 2)
    path = tmp_path / "sa_000000.tar"
    content = path.read_bytes()
    image = writer.pair(drawn[2 * n_whole])[0][1]  # of the first image that is not whole
    path.write_bytes(content[: content.index(image) + len(image) // 2])
    source = reader(stream_of(tmp_path))

    names = {next(source).path.name for _ in range(6 + n_whole)}
    assert len(names) == 6 + n_whole
    assert source.position.epoch == 0

    next(source)
    assert source.position.epoch == 1
    assert source.skipped.reasons["shard"]["broken off"] >= 1
    assert "sa_000000.tar" in source.skipped.examples["shard"]["broken off"][0]


def no_end(content: bytes) -> bytes:
    return content.rstrip(b"\0") + bytes(-len(content.rstrip(b"\0")) % 512)


@pytest.mark.parametrize(
    "damage",
    [
        no_end,
        lambda content: no_end(content) + bytes(512),
        lambda content: no_end(content) + bytes(100),
        lambda content: no_end(content) + b"x" * 512 + bytes(1024),
        lambda content: no_end(content) + content[:300],
        lambda content: content + content,
        lambda content: content + b"words",
        lambda content: content.replace(b"sa_002.png", b"sa_00\xff.png"),  # in a header, whose sum is wrong then
    ],
)
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_shard_that_does_not_end_as_tars_do_gives_what_it_has_and_is_counted(
    tmp_path: Path, writer, damage: Callable[[bytes], bytes], compress: Callable[[bytes], bytes]
) -> None:
    path = writer.shards(tmp_path, writer.draw(3), 1) / "sa_000000.tar"
    sound, content = path.read_bytes(), damage(path.read_bytes())

    path.write_bytes(compress(sound))
    assert all(isinstance(item, Pair) for item in read_pairs(str(path)))
    path.write_bytes(compress(content))
    *pairs, broken = read_pairs(str(path))

    assert [pair.name for pair in pairs] == [f"sa_00{number}" for number in range(2 if b"\xff.png" in content else 3)]
    assert isinstance(broken, Broken)
    assert "sa_000000.tar broke off" in broken.problem


def test_shard_that_goes_missing_during_the_run_is_counted(tmp_path: Path, writer) -> None:
    stream = stream_of(writer.shards(tmp_path, writer.draw(6), 2))
    (tmp_path / "sa_000001.tar").unlink()

    assert damaged(reader(stream))["shard"] == {"broken off": 1}


def test_stream_without_one_good_image_ends_instead_of_running_forever(tmp_path: Path, writer, tells) -> None:
    writer.tar(tmp_path / "a.tar", [("a.jpg", b"x"), ("b.json", b"{}")])

    with tells(DataError, "a whole epoch", "file missing", "annotations missing"):
        next(reader(stream_of(tmp_path)))


def test_stream_that_is_mostly_damaged_ends_early(tmp_path: Path, writer, tells) -> None:
    files = [(f"{number}.{suffix}", b"x") for number in range(300) for suffix in ("jpg", "json")]
    writer.tar(tmp_path / "a.tar", files)
    skipped = Skipped()

    with tells(DataError, "100 of 100 image draws", "annotations damaged"):
        next(StreamReader(stream_of(tmp_path), 0, 0, 1, skipped, max_skipped_share=0.05))


# Where shards are


def test_shards_are_a_file_a_pattern_or_a_folder(tmp_path: Path, writer) -> None:
    writer.shards(tmp_path, writer.draw(3), 3)

    assert len(stream_of(tmp_path).shards) == 3
    assert len(stream_of(f"{tmp_path}/sa_{{000000..000001}}.tar").shards) == 2
    assert len(stream_of(tmp_path / "sa_000002.tar").shards) == 1


@pytest.mark.skipif(shutil.which("curl") is None, reason="webdataset reads http with curl")
def test_shards_are_streamed_over_http(tmp_path: Path, writer) -> None:
    drawn = writer.draw(4)
    writer.shards(tmp_path, drawn, 2)
    quiet = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        stream = stream_of(f"http://127.0.0.1:{server.server_port}/sa_{{000000..000001}}.tar")
        assert sorted(epoch(stream, 0)) == [one.name for one in drawn]
    finally:
        server.shutdown()
        server.server_close()
