"""Images and their JSON out of one tar file, local or far, as it streams by; webdataset opens and reads it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from supersam.data.sa1b import IMAGE_SUFFIXES
from supersam.errors import EnvironmentProblem, MissingError, UsageError

WAITING = 512  # files that may wait for their partner, before they are given up: bounds the memory
UNSAFE = "pipe"  # runs its address as a shell command


@dataclass
class Pair:
    """An image and the JSON beside it, as bytes; one of them may be missing."""

    path: str  # shard/folder/stem
    image: bytes | None = None
    annotations: bytes | None = None

    @property
    def name(self) -> str:
        """The stem both files share."""
        return PurePosixPath(self.path).name


@dataclass(frozen=True)
class Broken:
    """Why the rest of a shard could not be read."""

    problem: str


def read_pairs(shard: str) -> Iterator[Pair | Broken]:
    """Yield the pairs of a shard in their order; whatever ends it early is yielded last.

    The two files of a pair may lie apart by some hundred others. A tar file that was cut between the contents of
    two files cannot be told from a whole one.
    """
    waiting: dict[str, Pair] = {}
    try:
        with webdataset().gopen(shard) as stream:
            for file in webdataset().tariterators.tar_file_iterator(stream):
                path = PurePosixPath(file["fname"])
                suffix = path.suffix.lower()
                if suffix != ".json" and suffix not in IMAGE_SUFFIXES:
                    continue
                key = str(path.with_suffix(""))
                pair = waiting.setdefault(key, Pair(f"{shard}/{key}"))
                if suffix == ".json":
                    pair.annotations = file["data"]
                else:
                    pair.image = file["data"]
                if pair.image is not None and pair.annotations is not None:
                    yield waiting.pop(key)
                elif len(waiting) > WAITING:
                    yield waiting.pop(next(iter(waiting)))
    except Exception as problem:  # tarfile, the network and the tools behind an address raise many kinds
        yield Broken(f"shard {shard} broke off: {' '.join(str(problem).split()) or type(problem).__name__}")
    else:
        yield from waiting.values()


def find_shards(path: str) -> tuple[str, ...]:
    """Return the shards of a folder, a tar file, a pattern with braces, or an address.

    Raises:
        UsageError: if an address is of a kind that is not opened.
        MissingError: if there is no shard, or a local one of a list is not there.
    """
    if Path(path).is_dir():
        found = tuple(str(file) for file in sorted(Path(path).glob("*.tar")))
        if not found:
            raise MissingError(f"{path} holds no .tar files")
        return found
    found = tuple(webdataset().shardlists.expand_urls(path))
    openable = sorted(set(webdataset().gopen_schemes) - {UNSAFE, "__default__"})
    for shard in found:
        scheme = shard.partition(":")[0]
        if scheme == UNSAFE or ("://" in shard and scheme not in openable):
            raise UsageError(
                f"the shard {shard!r} cannot be opened; give a path or an address of: {', '.join(openable)}"
            )
    gone = [shard for shard in found if "://" not in shard and not Path(shard).is_file()]
    if gone:
        raise MissingError(f"there is no shard {gone[0]} ({len(gone)} of {len(found)} are missing)")
    return found


def webdataset() -> Any:
    """Import webdataset, which only streams need."""
    try:
        import webdataset
    except ModuleNotFoundError as problem:
        raise EnvironmentProblem("tar shards need webdataset: pip install 'supersam[streaming]'") from problem
    return webdataset
