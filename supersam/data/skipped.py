"""What training left out: damaged samples are skipped, counted by reason and reported; too many of them end it."""

from dataclasses import dataclass, field
from typing import Any, Self

from supersam.errors import DataError

EXAMPLES = 3  # kept of each reason
LEAST_SEEN = 100  # of a kind, before its share is judged ...
LEAST_MASKS = 1000  # ... and of masks, of which one image has many
PLURALS = {"entry": "entries of annotation files", "shard": "shards", "image": "image draws", "mask": "mask draws"}


@dataclass
class Skipped:
    """Counts of what was looked at and of what could not be used, by kind.

    Kinds are ``entry`` (of an annotation file, when it is loaded), ``shard``, ``image`` and ``mask`` (when they are
    drawn: a file that is drawn again counts again, for files seen would have to be remembered). It is not locked: give
    every thread and process its own and ``merge`` them; it pickles.
    """

    seen: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, dict[str, int]] = field(default_factory=dict)  # kind -> reason -> count
    examples: dict[str, dict[str, list[str]]] = field(default_factory=dict)  # ... -> the first few that differ
    unused: int = 0  # draws of sound images that show no object large enough; no damage
    crowds: int = 0  # masks of several objects at once (``iscrowd`` 1), left out when a file is loaded; no damage
    _taken: "Skipped | None" = field(default=None, compare=False, repr=False)

    def see(self, kind: str, count: int = 1) -> None:
        """Count what was looked at, sound or not."""
        self.seen[kind] = self.seen.get(kind, 0) + count

    def add(self, kind: str, reason: str, example: object) -> None:
        """Count one that was seen and cannot be used."""
        self._add(kind, reason, 1, [str(example)])

    def merge(self, other: Self) -> None:
        """Add the counts of another thread, process or run."""
        for kind, count in other.seen.items():
            self.see(kind, count)
        for kind, reasons in other.reasons.items():
            for reason, count in reasons.items():
                self._add(kind, reason, count, other.examples.get(kind, {}).get(reason, []))
        self.unused += other.unused
        self.crowds += other.crowds

    def take(self) -> "Skipped":
        """Return the counts so far and start again from zero: what a worker sends along with a batch.

        ``check`` goes on judging by all counts; those of one batch are too few.
        """
        taken = Skipped(self.seen, self.reasons, self.examples, self.unused, self.crowds)
        self._taken = self._taken or Skipped()
        self._taken.merge(taken)
        self.seen, self.reasons, self.examples, self.unused, self.crowds = {}, {}, {}, 0, 0
        return taken

    def count(self, kind: str) -> int:
        """Return how many of a kind could not be used."""
        return sum(self.reasons.get(kind, {}).values())

    def share(self, kind: str) -> float:
        """Return the share of a kind that could not be used, 0 to 1."""
        return self.count(kind) / max(1, self.seen.get(kind, 0))

    def check(self, limit: float, least_masks: int = LEAST_MASKS) -> None:
        """Refuse to go on with a broken data set.

        Args:
            least_masks: before their share is judged; drawn ones come by the image.

        Raises:
            DataError: if of 100 or more of a kind, or of 1,000 masks, a larger share than ``limit`` could not be used.
        """
        whole = self._in_all()
        for kind, seen in whole.seen.items():
            if seen >= (least_masks if kind == "mask" else LEAST_SEEN) and whole.share(kind) > limit:
                reason = max(whole.reasons[kind], key=whole.reasons[kind].__getitem__)
                raise DataError(
                    f"{whole._phrase(kind)} had to be skipped, more than the {limit:.1%} of max_skipped_share; the "
                    f"data is broken or not what it is taken for; for example: {whole.examples[kind][reason][0]}"
                )

    def summary(self) -> str:
        """Return one line for people."""
        damaged = [kind for kind in PLURALS if self.count(kind)]
        if damaged:
            kind = damaged[0]
            first = next(iter(self.examples[kind].values()))[0]
            line = f"skipped {' and '.join(map(self._phrase, damaged))}; first: {first}"
        else:
            seen = [f"{count:,} {PLURALS[kind]}" for kind, count in self.seen.items()]
            line = f"nothing was skipped of {' and '.join(seen) or 'nothing seen'}"
        line += f"; {self.crowds:,} masks of crowds (iscrowd 1) were left out" if self.crowds else ""
        return line + (f"; {self.unused:,} image draws showed no object to ask for" if self.unused else "")

    def to_dict(self) -> dict[str, Any]:
        """Return ``{unused_images, crowds, kinds: {kind: {seen, skipped, share, reasons}}}``.

        ``reasons`` is ``{reason: {count, examples}}``.
        """
        kinds = {
            kind: {
                "seen": self.seen.get(kind, 0),
                "skipped": self.count(kind),
                "share": round(self.share(kind), 5),
                "reasons": {
                    reason: {"count": count, "examples": self.examples[kind][reason]}
                    for reason, count in self.reasons.get(kind, {}).items()
                },
            }
            for kind in PLURALS
            if kind in self.seen or kind in self.reasons
        }
        return {"unused_images": self.unused, "crowds": self.crowds, "kinds": kinds}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """Read back what ``to_dict`` gave, so that a resumed run goes on counting."""
        found = cls(unused=content["unused_images"], crowds=content.get("crowds", 0))
        for kind, counts in content["kinds"].items():
            found.see(kind, counts["seen"])
            for reason, entry in counts["reasons"].items():
                found._add(kind, reason, entry["count"], entry["examples"])
        return found

    def _in_all(self) -> "Skipped":
        """Return these counts and those that were taken."""
        if self._taken is None:
            return self
        whole = Skipped()
        for part in (self._taken, self):
            whole.merge(part)
        return whole

    def _add(self, kind: str, reason: str, count: int, examples: list[str]) -> None:
        reasons = self.reasons.setdefault(kind, {})
        reasons[reason] = reasons.get(reason, 0) + count
        kept = self.examples.setdefault(kind, {}).setdefault(reason, [])
        kept += [example for example in dict.fromkeys(examples) if example not in kept][: EXAMPLES - len(kept)]

    def _phrase(self, kind: str) -> str:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.reasons[kind].items())
        return f"{self.count(kind):,} of {self.seen.get(kind, 0):,} {PLURALS[kind]} ({reasons})"
