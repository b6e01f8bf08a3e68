"""Images and their JSON out of one tar file, local or far, as it streams by; webdataset opens it."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Self

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

    The two files of a pair may lie apart by some hundred others. What begins with a dot is left out.
    """
    waiting: dict[str, Pair] = {}
    try:
        with webdataset().gopen(shard) as stream:
            for name, content in _files(stream):
                path = PurePosixPath(name)
                suffix = path.suffix.lower()
                if suffix != ".json" and suffix not in IMAGE_SUFFIXES:
                    continue
                if any(part.startswith(".") for part in path.parts):
                    continue
                key = str(path.with_suffix(""))
                pair = waiting.setdefault(key, Pair(f"{shard}/{key}"))
                if suffix == ".json":
                    pair.annotations = content
                else:
                    pair.image = content
                if pair.image is not None and pair.annotations is not None:
                    yield waiting.pop(key)
                elif len(waiting) > WAITING:
                    yield waiting.pop(next(iter(waiting)))
    except Exception as problem:  # tarfile, the network and the tools behind an address raise many kinds
        yield Broken(f"shard {shard} broke off: {' '.join(str(problem).split()) or type(problem).__name__}")
    else:
        yield from waiting.values()


class _Header(tarfile.TarInfo):
    """A header that must be one: after the first file tarfile takes a damaged or missing header for the end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as problem:
            raise tarfile.ReadError(f"{problem} where a file or the end should be") from problem


def _files(stream: Any) -> Iterator[tuple[str, bytes]]:
    """Yield the name and content of every file of a tar, which must end as tars end: with zeros alone."""
    with tarfile.open(fileobj=stream, mode="r|*", tarinfo=_Header) as tar:
        for entry in tar:
            file = tar.extractfile(entry) if entry.isreg() else None
            if file is not None:
                yield entry.name, file.read()
            tar.members = []  # type: ignore[attr-defined]
        rest: Any = tar.fileobj
        if rest.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):  # type: ignore[attr-defined]
            raise tarfile.ReadError("no end marker (two blocks of zeros)")
        while block := rest.read(tarfile.RECORDSIZE):  # type: ignore[attr-defined]
            if any(block):
                raise tarfile.ReadError("more after its end marker; are these several tars in one file?")


def find_shards(path: str) -> tuple[str, ...]:
    """Return the shards of a folder, a tar file, a pattern with braces, or an address.

    Raises:
        UsageError: if an address is of a kind that is not opened.
        MissingError: if there is no shard, or a local one of a list is not there.
    """
    if Path(path).is_dir():
        found = tuple(str(file) for file in sorted(Path(path).glob("[!.]*.tar")))
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
