"""The cache of teacher embeddings: what is read is what was computed, whatever was killed or damaged meanwhile."""

import json
from operator import attrgetter

import numpy as np
import pytest
import torch
from PIL import Image

from supersam.data.coco import load_packs
from supersam.data.records import LazyRecords, Pack
from supersam.data.skipped import Skipped
from supersam.data.synthetic import write_pack
from supersam.data.transforms import to_input
from supersam.errors import CheckpointError, DamagedError, DataError, EnvironmentProblem, MissingError, UsageError
from supersam.train import teacher_cache_fill
from supersam.train.teacher_cache import (
    EMBEDDINGS,
    ENTRIES,
    INDEX,
    TeacherCache,
    View,
    data_fingerprint,
    image_key,
    sources_of,
)
from supersam.train.teacher_cache_fill import fill, open_writer
from supersam.train.teachers import Teacher

N_IMAGES = 5
SIDE = 64
BYTES = 2 * 256 * (SIDE // 16) ** 2


@pytest.fixture
def packs(tmp_path):
    return load_packs(write_pack(tmp_path / "shapes", n_train=N_IMAGES, n_val=0, side=48), "train")


@pytest.fixture
def sources(packs):
    return sources_of(packs)


class Counted(Teacher):
    """A teacher that counts the images it sees and can be killed."""

    seen = 0
    dies_after = 10**9

    def forward(self, x):
        if self.seen + len(x) > self.dies_after:
            raise KeyboardInterrupt
        self.seen += len(x)
        return super().forward(x)


@pytest.fixture
def teacher(patch_sam):
    return Counted("patches", patch_sam.image_encoder, SIDE)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


def run(folder, teacher, sources, **options):
    with open_writer(folder, teacher) as writer:
        return fill(writer, teacher, sources, **options)


def expected(teacher, record, flipped=False):
    image = record.read()
    image = np.ascontiguousarray(image[:, ::-1]) if flipped else image
    return Teacher("same", teacher.encoder, SIDE)(to_input(image, SIDE)[None])[0].half()


def test_what_is_read_is_what_the_teacher_says(folder, teacher, packs, sources):
    filled = run(folder, teacher, sources, flips=True, batch_size=3)
    cache = TeacherCache(folder)

    assert (filled.computed, filled.kept, filled.damaged, filled.skipped) == (2 * N_IMAGES, 0, 0, [])
    assert (folder / EMBEDDINGS).stat().st_size == 2 * N_IMAGES * BYTES
    for record in packs[0].records:
        for flipped in (False, True):
            found = cache.read(View(image_key("shapes", record), flipped))
            assert (found.dtype, found.shape) == (torch.float16, (256, SIDE // 16, SIDE // 16))
            torch.testing.assert_close(found, expected(teacher, record, flipped), atol=1e-3, rtol=1e-3)
    cache.require(teacher.fingerprint, sources)


def test_a_full_cache_is_not_computed_again(folder, teacher, sources):
    run(folder, teacher, sources)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    filled = run(folder, teacher, sources)

    assert (teacher.seen, filled.computed, filled.kept) == (N_IMAGES, 0, N_IMAGES)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_killed_run_is_resumed_where_it_was(folder, teacher, sources, batch_size, tmp_path):
    teacher.dies_after = 3
    with pytest.raises(KeyboardInterrupt):
        run(folder, teacher, sources, batch_size=batch_size)
    kept = 3 // batch_size * batch_size
    assert len(TeacherCache(folder).entries) == kept
    with pytest.raises(MissingError):
        TeacherCache(folder).require(teacher.fingerprint, sources)
    teacher.dies_after = 10**9

    filled = run(folder, teacher, sources, batch_size=batch_size)
    run(tmp_path / "whole", teacher, sources)

    assert (filled.computed, filled.kept) == (N_IMAGES - kept, kept)
    for source in sources:
        whole, resumed = (TeacherCache(f).read(View(source.key)) for f in (tmp_path / "whole", folder))
        torch.testing.assert_close(resumed, whole, atol=1e-3, rtol=1e-3)


def test_an_embedding_that_was_written_before_its_line_is_computed_again(folder, teacher, sources, monkeypatch):
    def killed(writer, entries):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(teacher_cache_fill.CacheWriter, "_append", killed)
        with pytest.raises(KeyboardInterrupt):
            run(folder, teacher, sources)
    assert (folder / EMBEDDINGS).stat().st_size == BYTES

    assert run(folder, teacher, sources).computed == N_IMAGES
    assert (folder / EMBEDDINGS).stat().st_size == N_IMAGES * BYTES


@pytest.mark.parametrize("cut", [1, 30])
def test_a_line_that_was_not_finished_vouches_for_nothing(folder, teacher, sources, cut):
    run(folder, teacher, sources)
    journal = folder / ENTRIES
    journal.write_bytes(journal.read_bytes()[:-cut])

    assert len(TeacherCache(folder).entries) == N_IMAGES - 1
    filled = run(folder, teacher, sources)

    assert (filled.computed, filled.kept) == (1, N_IMAGES - 1)
    assert (folder / EMBEDDINGS).stat().st_size == N_IMAGES * BYTES  # the slot was used again
    assert all(json.loads(line) for line in journal.read_text().splitlines())


def test_a_damaged_entry_is_found_and_computed_again(folder, teacher, sources):
    run(folder, teacher, sources)
    before = (folder / EMBEDDINGS).read_bytes()
    damaged = bytearray(before)
    damaged[2 * BYTES + 7] ^= 1
    (folder / EMBEDDINGS).write_bytes(damaged)

    with pytest.raises(DamagedError, match="supersam teacher cache"):
        TeacherCache(folder).read(View(sources[2].key))
    filled = run(folder, teacher, sources)

    assert (filled.computed, filled.damaged, filled.kept) == (1, 1, N_IMAGES - 1)
    assert (folder / EMBEDDINGS).read_bytes() == before


def test_embeddings_that_were_cut_off_are_computed_again(folder, teacher, sources):
    run(folder, teacher, sources)
    with (folder / EMBEDDINGS).open("r+b") as file:
        file.truncate(3 * BYTES + 11)

    filled = run(folder, teacher, sources)

    assert (filled.computed, filled.damaged) == (2, 2)
    for source in sources:
        torch.testing.assert_close(
            TeacherCache(folder).read(View(source.key)), expected(teacher, source.record), atol=1e-3, rtol=1e-3
        )


def test_images_that_came_or_changed_are_computed_and_others_kept(folder, teacher, packs):
    run(folder, teacher, sources_of(packs)[:3])
    path = packs[0].records[0].path
    Image.new("RGB", (48, 48), (200, 30, 90)).save(path)
    sources = sources_of(packs)

    filled = run(folder, teacher, sources)

    assert (filled.computed, filled.kept) == (3, 2)
    found = TeacherCache(folder).read(View(image_key("shapes", packs[0].records[0])))
    torch.testing.assert_close(found, expected(teacher, packs[0].records[0]), atol=1e-3, rtol=1e-3)


def test_a_picture_that_does_not_decode_is_skipped_and_told(folder, teacher, packs):
    path = packs[0].records[1].path
    path.write_bytes(path.read_bytes()[:200])
    sources = sources_of(packs)

    filled = run(folder, teacher, sources, batch_size=2)

    assert (filled.computed, len(filled.skipped)) == (N_IMAGES - 1, 1)
    assert path.name in filled.skipped[0]
    assert run(folder, teacher, sources).computed == 0
    TeacherCache(folder).require(teacher.fingerprint, sources)  # the training meets the damaged picture itself
    with pytest.raises(MissingError):
        TeacherCache(folder).read(View(sources[1].key))


def test_a_picture_that_did_not_decode_is_tried_again(folder, teacher, packs):
    path = packs[0].records[1].path
    whole = path.read_bytes()
    path.write_bytes(b"x" * len(whole))  # as a disk that fails may give it
    sources = sources_of(packs)
    run(folder, teacher, sources)
    lines = (folder / ENTRIES).read_text()

    assert len(run(folder, teacher, sources).skipped) == 1
    assert (folder / ENTRIES).read_text() == lines
    path.write_bytes(whole)
    assert run(folder, teacher, sources).computed == 1
    assert TeacherCache(folder).read(View(sources[1].key)).shape == (256, SIDE // 16, SIDE // 16)


def test_a_picture_that_was_replaced_after_it_did_not_decode_has_no_embedding(folder, teacher, packs, tells):
    path = packs[0].records[1].path
    whole = path.read_bytes()
    path.write_bytes(whole[:200])
    run(folder, teacher, sources_of(packs))
    path.write_bytes(whole)

    with tells(MissingError, "lacks 1 embeddings"):
        TeacherCache(folder).require(teacher.fingerprint, sources_of(packs))


def test_images_with_annotations_of_their_own_do_not_stay_in_memory(packs):
    read = []
    records = LazyRecords(list(packs[0].records), lambda record: read.append(record) or record, attrgetter("path"))
    sources = sources_of([Pack("shapes", records)])

    assert len(read) == N_IMAGES
    assert sources[3].record is packs[0].records[3]
    assert len(read) == N_IMAGES + 1  # asked for again, so it was not kept


def test_flips_can_be_added_later_and_then_belong_to_the_cache(folder, teacher, sources):
    run(folder, teacher, sources)
    assert not TeacherCache(folder).flips

    filled = run(folder, teacher, sources, flips=True)

    assert TeacherCache(folder).flips
    assert (filled.computed, filled.kept) == (N_IMAGES, N_IMAGES)
    assert run(folder, teacher, sources).kept == 2 * N_IMAGES


def test_a_cache_belongs_to_one_teacher(folder, teacher, sources, patch_sam, tells):
    run(folder, teacher, sources)
    other = Teacher("other", torch.nn.Conv2d(3, 256, 16, stride=16), SIDE)

    with tells(UsageError, "patches", "other"), open_writer(folder, other):
        pass
    with tells(UsageError, "patches", "fp32", "bf16"), open_writer(folder, teacher, "bf16"):
        pass
    with tells(UsageError, "patches"):
        TeacherCache(folder).require(other.fingerprint, sources)


def test_two_processes_do_not_fill_the_same_cache(folder, teacher, tells):
    with open_writer(folder, teacher), tells(EnvironmentProblem, folder), open_writer(folder, teacher):
        pass


def test_a_disk_that_is_too_small_is_told_before_anything_is_computed(folder, teacher, sources, monkeypatch, tells):
    monkeypatch.setattr(teacher_cache_fill.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 2 * BYTES}))

    with tells(EnvironmentProblem, f"{N_IMAGES} embeddings"):
        run(folder, teacher, sources)
    assert teacher.seen == 0


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 1}', '{"format": 99}'])
def test_a_damaged_index_is_told_in_one_line(folder, teacher, sources, content, tells):
    run(folder, teacher, sources)
    (folder / INDEX).write_text(content)

    with tells(DamagedError, INDEX):
        TeacherCache(folder)


def test_a_cache_that_is_not_there_names_the_command(tmp_path, tells):
    with tells(MissingError, "supersam teacher cache"):
        TeacherCache(tmp_path)


def test_values_beyond_half_precision_are_refused(folder, teacher, sources, tells):
    with torch.no_grad():
        teacher.encoder.bias[0] = 1e6

    with tells(CheckpointError, "65504"):
        run(folder, teacher, sources)
    assert not TeacherCache(folder).entries


def test_the_fingerprint_of_images_knows_names_and_sizes_and_no_order(packs, sources):
    path = packs[0].records[0].path
    same = data_fingerprint(reversed(sources))
    with path.open("ab") as file:
        file.write(b"x")

    assert same == data_fingerprint(sources)
    assert data_fingerprint(sources_of(packs)) != same


def test_an_image_that_is_not_there_is_an_error_or_counted(packs, tells):
    packs[0].records[2].path.unlink()
    skipped = Skipped()

    with tells(MissingError, "train_0002.png"):
        sources_of(packs)
    assert len(sources_of(packs, skipped)) == N_IMAGES - 1
    assert skipped.count("image") == 1


def test_two_images_of_one_name_are_refused(packs, tells):
    with tells(DataError, "train_0000.png"):
        sources_of([*packs, *packs])


def test_arithmetic_in_half_precision_is_near(folder, teacher, sources):
    with open_writer(folder, teacher, "bf16") as writer:
        fill(writer, teacher, sources)

    found = TeacherCache(folder).read(View(sources[0].key))
    torch.testing.assert_close(found, expected(teacher, sources[0].record), atol=0.05, rtol=0.05)
