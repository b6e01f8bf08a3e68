"""Every format gives the images and masks that were written, and says what is wrong."""

import hashlib
import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from supersam.data.records import ImageRecord, Pack
from supersam.data.shards import Stream, StreamReader
from supersam.data.skipped import Skipped
from supersam.data.sources import DataSource, describe, detect, open_packs, open_sources
from supersam.data.splits import fit_split
from supersam.errors import DataError, MissingError, UsageError

WRITE: dict[str, Callable[..., Path]] = {
    "coco": lambda writer, folder, drawn: writer.coco(folder, drawn),
    "lvis": lambda writer, folder, drawn: writer.lvis(folder, drawn),
    "sa1b": lambda writer, folder, drawn: writer.sa1b(folder, drawn),
    "shards": lambda writer, folder, drawn: writer.shards(folder, drawn, 2),
    "labels": lambda writer, folder, drawn: writer.labels(folder, drawn),
}


def records_of(source: Any, count: int) -> list[ImageRecord]:
    if isinstance(source, Stream):
        reader = StreamReader(source, 0, 0, 1, Skipped())
        return sorted((next(reader) for _ in range(count)), key=lambda record: record.path.name)
    return sorted(source.records, key=lambda record: record.path.name)


@pytest.mark.parametrize("name", WRITE)
def test_every_format_gives_the_pixels_and_masks_that_were_written(tmp_path: Path, writer, name: str) -> None:
    drawn = writer.draw(5)
    folder = WRITE[name](writer, tmp_path / "data", drawn)

    (source,) = open_sources(folder, "train")

    assert source.name == "data"
    found = records_of(source, len(drawn))
    assert [record.path.name.removesuffix(".png") for record in found] == [one.name for one in drawn]
    for record, one in zip(found, drawn, strict=True):
        assert np.array_equal(record.read(), one.pixels)
        assert len(record.annotations) == len(one.masks)
        for index, mask in enumerate(one.masks):
            assert np.array_equal(record.mask(index), mask)
            assert record.annotations[index].area == mask.sum()
            rows, columns = np.nonzero(mask)
            assert record.box(index) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


@pytest.mark.parametrize("name", WRITE)
def test_every_format_parts_train_into_fit_and_search(tmp_path: Path, writer, name: str) -> None:
    drawn = writer.draw(40, side=16)
    folder = WRITE[name](writer, tmp_path, drawn)

    fit, search = (open_sources(folder, split)[0] for split in ("train-fit", "train-search"))
    n_search = 0 if isinstance(search, Stream) else len(search)
    if isinstance(search, Stream):
        n_search = next(count for count in range(1, 41) if len({r.path for r in records_of(search, count)}) < count) - 1
    names = [
        {record.path.name for record in records_of(source, n)}
        for source, n in ((fit, 40 - n_search), (search, n_search))
    ]

    assert 0 < n_search < 15
    assert not names[0] & names[1]
    assert len(names[0] | names[1]) == 40


@pytest.mark.parametrize("name", ["sa1b", "shards", "labels"])
def test_a_folder_for_each_split_is_found_and_another_split_is_not(tmp_path: Path, writer, tells, name: str) -> None:
    WRITE[name](writer, tmp_path / "train", writer.draw(3, seed=1))
    WRITE[name](writer, tmp_path / "val", writer.draw(2, seed=2))

    for split, drawn in (("train", writer.draw(3, seed=1)), ("val", writer.draw(2, seed=2))):
        found = records_of(open_sources(tmp_path, split)[0], len(drawn))
        assert all(np.array_equal(record.read(), one.pixels) for record, one in zip(found, drawn, strict=True))
    with tells(MissingError, tmp_path, "'test'", "train, val"):
        open_sources(tmp_path, "test")
    with tells(MissingError, "'val'", "(there: train)"):
        open_sources(tmp_path / "train", "val")


def test_sa1b_unpacked_into_a_folder_for_each_shard_is_one_source(tmp_path: Path, writer) -> None:
    drawn = writer.draw(4)
    writer.sa1b(tmp_path / "sa_000000", drawn[:2])
    writer.sa1b(tmp_path / "sa_000001", drawn[2:])

    (source,) = open_sources(tmp_path, "train")

    assert isinstance(source, Pack)
    assert [record.path.parent.name for record in source.records] == ["sa_000000"] * 2 + ["sa_000001"] * 2


def test_folder_of_folders_of_several_formats_gives_them_by_name(tmp_path: Path, writer) -> None:
    writer.sa1b(tmp_path / "c", writer.draw(1))
    writer.coco(tmp_path / "b", writer.draw(2))
    writer.labels(tmp_path / "a", writer.draw(3))
    (tmp_path / "notes").mkdir()

    found = open_sources(DataSource(path=tmp_path, weight=2.0), "train")

    assert [(source.name, len(source), source.weight) for source in found] == [
        ("a", 3, 2.0),
        ("b", 2, 2.0),
        ("c", 1, 2.0),
    ]


def by_path(folder: Path) -> Path:
    return folder / "annotations" / "instances_train2017.json"


def test_images_named_with_their_folder_are_found_beside_the_file(tmp_path: Path, writer) -> None:
    drawn = writer.draw(3)
    content = writer.coco_content(drawn)
    for image in content["images"]:
        image["file_name"] = f"train/{image['file_name']}"
    writer.files(tmp_path / "train", drawn)
    (tmp_path / "train.json").write_text(json.dumps(content))

    (pack,) = open_packs(tmp_path / "train.json", "train")

    for one, source in zip(pack.records, drawn, strict=True):
        assert np.array_equal(one.read(), source.pixels)


def test_images_in_a_folder_for_each_split_are_found_as_cvat_exports_them(tmp_path: Path, writer) -> None:
    drawn = {split: writer.draw(3, seed=seed) for seed, split in enumerate(("train", "default"))}
    for split in drawn:
        writer.coco(tmp_path, drawn[split], split)
    for path in (tmp_path / "images").glob("*.png"):
        path.unlink()
    for split in drawn:
        writer.files(tmp_path / "images" / split, drawn[split])

    for split, expected in drawn.items():
        (pack,) = open_packs(tmp_path, split)
        assert all(np.array_equal(one.read(), source.pixels) for one, source in zip(pack.records, expected))


@pytest.mark.parametrize(
    ("written", "on_disk"),
    [
        ("a%20b.png", "a b.png"),
        ("deep\\a.png", "deep/a.png"),
        ("deep%5Ca%20b.png", "deep/a b.png"),
        ("100%25.png", "100%25.png"),
        ("100%.png", "100%.png"),
    ],
)
def test_images_are_found_by_names_as_exporters_spell_them(tmp_path: Path, writer, written: str, on_disk: str) -> None:
    (one,) = writer.draw(1)
    content = writer.coco_content([one])
    content["images"][0]["file_name"] = written
    writer.coco(tmp_path, [one], **content)
    (tmp_path / "images" / "deep").mkdir()
    (tmp_path / "images" / f"{one.name}.png").rename(tmp_path / "images" / on_disk)

    (record,) = open_packs(tmp_path, "train")[0].records

    assert record.path == tmp_path / "images" / on_disk
    assert np.array_equal(record.read(), one.pixels)


@pytest.mark.parametrize("file", ["nowhere/train.json", "nowhere/annotations/instances_train.json"])
def test_an_annotation_file_that_is_not_there_is_told(tmp_path: Path, tells, file) -> None:
    with tells(MissingError, "there is no annotation file", file):
        open_packs(tmp_path / file, "train")


def test_of_two_years_one_has_to_be_named(tmp_path: Path, writer, tells) -> None:
    writer.coco(tmp_path, writer.draw(2), "train2014")
    writer.coco(tmp_path, writer.draw(3), "train2017")

    with tells(MissingError, "no split 'train-fit'", "train2014, train2017"):
        open_packs(tmp_path, "train-fit")
    assert len(open_packs(tmp_path, "train2014")[0]) == 2


def test_every_split_has_its_two_parts_and_by_its_file_the_same_ones(tmp_path: Path, writer) -> None:
    for split in ("train2014", "train2017", "val", "cross-fit"):
        writer.coco(tmp_path, writer.draw(30, side=16), split)

    def names(data: Path | DataSource, split: str) -> list[str]:
        return [path.name for path in open_packs(data, split)[0].paths]

    fit, search = names(tmp_path, "train2017-fit"), names(tmp_path, "train2017-search")
    assert sorted(fit + search) == names(tmp_path, "train2017")
    assert 0 < len(search) < 10
    assert names(by_path(tmp_path), "train-search") == names(by_path(tmp_path), "train2017-search") == search
    assert names(DataSource(path=tmp_path, split="train2017-fit"), "train-fit") == fit
    assert names(tmp_path, "val-search") == search
    assert len(names(tmp_path, "cross-fit")) == 30  # there is a file of that name


@pytest.mark.parametrize("name", ["coco", "sa1b", "labels"])
def test_augmented_copies_of_a_photograph_go_one_way(tmp_path: Path, writer, name: str) -> None:
    drawn = [
        replace(one, name=f"{one.name}_jpg.rf.{hashlib.sha256(bytes([n, copy])).hexdigest()[:32]}")
        for n, one in enumerate(writer.draw(40, side=8))
        for copy in range(3)
    ]
    folder = WRITE[name](writer, tmp_path, drawn)

    for split in ("train-fit", "train-search"):
        names = [path.name[:6] for path in open_packs(folder, split)[0].paths]
        assert {names.count(photograph) for photograph in names} == {3}


@pytest.mark.parametrize("name", ["coco", "sa1b", "labels"])
def test_a_part_without_images_says_how_they_are_parted(tmp_path: Path, writer, tells, name: str) -> None:
    folder = WRITE[name](writer, tmp_path, writer.draw(2, side=16))

    assert len(open_packs(folder, "train-fit")[0]) == 2
    with tells(MissingError, "split train-search holds none of the 2 images", "hash of their names"):
        open_packs(folder, "train-search")


@pytest.mark.parametrize(
    ("measured_on", "learnt_from"),
    [
        ("train-search", "train-fit"),
        ("train2017-search", "train2017-fit"),
        ("val", "train-fit"),
        ("train-fit", "train-fit"),
    ],
)
def test_statistics_are_of_the_other_part(measured_on: str, learnt_from: str) -> None:
    assert fit_split(measured_on) == learnt_from


def test_parts_of_a_folder_for_each_split(tmp_path: Path, writer) -> None:
    for split in ("train", "val"):
        writer.labels(tmp_path / split, writer.draw(30, side=16))

    fit, search = (open_packs(tmp_path, split)[0].paths for split in ("val-fit", "val-search"))

    assert len(fit) + len(search) == 30
    assert {path.parent.parent.name for path in fit + search} == {"val"}


def test_the_files_of_a_pack_are_named_without_reading_it(tmp_path: Path, writer) -> None:
    drawn = writer.draw(3)
    folders = [writer.coco(tmp_path / "a", drawn), writer.labels(tmp_path / "b", drawn)]
    sa1b = writer.sa1b(tmp_path / "c", drawn)

    for folder in (*folders, sa1b):
        (pack,) = open_packs(folder, "train")
        assert pack.paths == [record.path for record in pack.records]
    for file in sa1b.glob("*.json"):
        file.write_text("{")
    assert len(open_packs(sa1b, "train")[0].paths) == 3


def test_coco_as_it_is_downloaded_is_read(tmp_path: Path, writer) -> None:
    drawn = writer.draw(3)
    writer.coco(tmp_path, drawn, "train2017")
    (tmp_path / "images").rename(tmp_path / "train2017")

    by_split = open_packs(tmp_path, "train2017")[0]
    by_file = open_packs(DataSource(path=by_path(tmp_path), images=tmp_path / "train2017"), "train")[0]

    by_name, alone = open_packs(tmp_path, "train")[0], open_packs(by_path(tmp_path), "train")[0]

    assert len(by_split) == len(by_file) == 3
    assert by_name == by_split
    assert alone.records == by_file.records
    for one, other, source in zip(by_split.records, by_file.records, drawn, strict=True):
        assert np.array_equal(one.read(), source.pixels)
        assert one == other


def test_lvis_images_are_found_by_their_address_in_one_folder_too(tmp_path: Path, writer) -> None:
    drawn = writer.draw(4)
    file = writer.lvis(tmp_path, drawn) / "annotations" / "lvis_v1_train.json"
    writer.files(tmp_path / "flat", drawn)
    content = json.loads(file.read_text())
    for image in content["images"]:  # as LVIS 0.5 has it, with names of 2014
        image["file_name"] = "COCO_train2014_" + image["coco_url"].rpartition("/")[2]
    file.write_text(json.dumps(content))

    (pack,) = open_packs(DataSource(path=file, format="lvis", images=tmp_path / "flat"), "train")

    assert [np.array_equal(record.read(), one.pixels) for record, one in zip(pack.records, drawn)] == [True] * 4


def test_a_source_can_have_its_own_split_weight_and_name(tmp_path: Path, writer) -> None:
    writer.coco(tmp_path, writer.draw(2), "other")
    source = DataSource.model_validate({"path": str(tmp_path), "split": "other", "weight": 3, "name": "mine"})

    (pack,) = open_sources([source], "train")

    assert (pack.name, pack.weight, len(pack)) == ("mine", 3.0, 2)


def test_images_without_an_annotation_file_are_refused(tmp_path: Path, writer, tells) -> None:
    with tells(UsageError, "images", tmp_path):
        open_sources(DataSource(path=writer.coco(tmp_path, writer.draw(1)), images=tmp_path), "train")


@pytest.mark.parametrize("wrong", [{"weight": 0}, {"format": "voc"}, {"folder": "x"}, {"images": 3}])
def test_wrong_keys_and_values_of_a_source_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        DataSource.model_validate({"path": "x"} | wrong)


def test_what_is_not_known_is_answered_with_what_is(tmp_path: Path, tells) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with tells(MissingError, path, "annotations/", "masks/", ".tar", "a folder of such folders"):
            detect(str(path))
    with tells(MissingError, "none.json"):
        open_sources(tmp_path / "none.json", "train")
    with tells(MissingError, "none.tar"):
        open_sources(tmp_path / "none.tar", "train")


@pytest.mark.parametrize("address", ["pipe:touch hacked", "pipe:touch {hacked,hacked}", "gopher://a/b.tar"])
def test_shards_are_never_shell_commands(tmp_path: Path, tells, monkeypatch, address: str) -> None:
    monkeypatch.chdir(tmp_path)
    for source in (address, DataSource(path=address, format="sa1b")):
        with tells(UsageError, "https"):
            open_sources(source, "train")
    assert not list(tmp_path.iterdir())


def test_evaluation_takes_packs_and_refuses_streams(tmp_path: Path, writer, tells) -> None:
    writer.shards(tmp_path / "tars", writer.draw(2), 1)
    writer.labels(tmp_path / "labels", writer.draw(2))

    assert [pack.name for pack in open_packs(tmp_path / "labels", "train")] == ["labels"]
    with tells(UsageError, "tars", "unpack"):
        open_packs(tmp_path, "train")


def test_packs_of_one_name_are_not_evaluated_as_one(tmp_path: Path, writer, tells) -> None:
    files = [writer.coco(tmp_path / name, writer.draw(1)) / "annotations" / "instances_train.json" for name in "ab"]
    sources = [DataSource(path=file) for file in files]

    assert len(open_sources(sources, "train")) == 2
    with tells(UsageError, "2 packs are named instances_train", "`name:`"):
        open_packs(sources, "train")
    named = [source.model_copy(update={"name": name}) for source, name in zip(sources, "ab", strict=True)]
    assert [pack.name for pack in open_packs(named, "train")] == ["a", "b"]


def test_licences_are_counted_as_the_data_states_them(tmp_path: Path, writer) -> None:
    licences = [{"id": 4, "name": "CC BY 2.0", "url": ""}]
    content = writer.coco_content(writer.draw(3))
    for image in content["images"][:2]:
        image["license"] = 4
    writer.coco(tmp_path / "pack", writer.draw(3), licenses=licences, images=content["images"])
    writer.shards(tmp_path / "tars", writer.draw(2), 2)

    pack, stream = open_sources(tmp_path, "train")

    assert describe(pack) == "pack: 3 images, licences CC BY 2.0 2, not stated 1"
    assert describe(stream) == "tars: 2 shards, licences not stated"


# Damage in annotation files: an error in evaluation, counted in training


def test_entries_that_cannot_be_used_are_counted_in_training_and_errors_in_evaluation(
    tmp_path: Path, writer, tells
) -> None:
    content = writer.coco_content(writer.draw(4))
    del content["images"][0]["width"]
    del content["annotations"][-1]["segmentation"]
    content["annotations"].append("words")
    n_entries = len(content["images"]) + len(content["annotations"])
    of_first = sum(isinstance(entry, dict) and entry["image_id"] == 0 for entry in content["annotations"])
    writer.coco(tmp_path, writer.draw(4), **content)

    skipped = Skipped()
    (pack,) = open_sources(tmp_path, "train", skipped)

    assert len(pack) == 3
    assert skipped.seen == {"entry": n_entries}
    assert skipped.reasons == {"entry": {"incomplete": 3, "of no image": of_first}}
    assert "instances_train.json" in skipped.summary()
    with tells(DataError, "instances_train.json"):
        open_packs(tmp_path, "train")


@pytest.mark.parametrize("name", ["/data/a.png", "../a.png"])
def test_an_image_outside_its_folder_is_counted_in_training(tmp_path: Path, writer, name: str) -> None:
    content = writer.coco_content(writer.draw(3))
    content["images"][1]["file_name"] = name
    writer.coco(tmp_path, writer.draw(3), **content)

    skipped = Skipped()
    (pack,) = open_sources(tmp_path, "train", skipped)

    assert [path.name for path in pack.paths] == ["sa_000.png", "sa_002.png"]
    assert skipped.reasons == {"entry": {"outside its folder": 1}}
    assert repr(name) in skipped.summary()


def test_images_of_one_id_are_left_out_with_their_masks_and_an_error_in_evaluation(
    tmp_path: Path, writer, tells
) -> None:
    content = writer.coco_content(writer.draw(4))
    content["images"][2]["id"] = 1  # as where files were joined without new numbers
    content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] != 2]
    content["images"].append(content["images"][3])  # the same image named again is no doubt
    writer.coco(tmp_path, writer.draw(4), **content)

    skipped = Skipped()
    (pack,) = open_sources(tmp_path, "train", skipped)

    assert [path.name for path in pack.paths] == ["sa_000.png", "sa_003.png"]
    assert all(record.annotations for record in pack.records)
    assert skipped.reasons == {"entry": {"image id used twice": 2}}
    with tells(DataError, "instances_train.json", "2 images of one id 1"):
        open_packs(tmp_path, "train")


def test_a_file_that_is_no_annotation_file_is_an_error_in_training_too(tmp_path: Path, writer, tells) -> None:
    writer.coco(tmp_path, writer.draw(1))
    (tmp_path / "annotations" / "instances_train.json").write_text('{"images": [{"id": 1')

    with tells(DataError, "instances_train.json", "not a COCO annotation file"):
        open_sources(tmp_path, "train", Skipped())


@pytest.mark.parametrize("content", ["", "{", "[]", '{"image": {}, "annotations": []}', '{"image": {"width": 3}}'])
def test_damaged_annotations_of_one_image_are_told_when_it_is_asked_for(
    tmp_path: Path, writer, tells, content: str
) -> None:
    writer.sa1b(tmp_path, writer.draw(2))
    (tmp_path / "sa_001.json").write_text(content)
    (pack,) = open_packs(tmp_path, "train")

    assert len(pack.records[0].annotations)
    with tells(DataError, "sa_001.png", "SA-1B"):
        pack.records[1]


def test_missing_partners_are_told_when_they_are_asked_for(tmp_path: Path, writer, tells) -> None:
    writer.sa1b(tmp_path / "pairs", writer.draw(3))
    (tmp_path / "pairs" / "sa_000.json").unlink()
    (tmp_path / "pairs" / "sa_002.png").unlink()
    writer.labels(tmp_path / "labels", writer.draw(3))
    (tmp_path / "labels" / "masks" / "sa_000.png").unlink()
    (tmp_path / "labels" / "images" / "sa_002.png").unlink()

    for name in ("pairs", "labels"):
        (pack,) = open_packs(tmp_path / name, "train")
        assert len(pack) == 3
        with tells(MissingError, "sa_000"):
            pack.records[0]
        with tells(MissingError, "sa_002"):
            pack.records[2].read()


def test_what_a_mac_leaves_beside_the_files_is_left_out(tmp_path: Path, writer) -> None:
    drawn = writer.draw(2)
    writer.sa1b(tmp_path / "pairs", drawn)
    writer.labels(tmp_path / "labels", drawn)
    files = [file for one in drawn for file in writer.pair(one)]
    writer.tar(tmp_path / "tars" / "a.tar", [*[(f"._{name}", b"left") for name, _ in files], (".x/a.png", b""), *files])
    for path in list(tmp_path.rglob("*.*")):
        path.with_name(f"._{path.name}").write_bytes(b"left")
    writer.sa1b(tmp_path / "pairs" / ".thumbnails", drawn)
    (tmp_path / "left").mkdir()
    for name in ("._a.json", "._a.jpg", "._a.tar"):
        (tmp_path / "left" / name).write_bytes(b"left")

    labels, pairs, tars = open_sources(tmp_path, "train")

    for pack in (labels, pairs):
        assert [record.path.name for record in records_of(pack, 2)] == ["sa_000.png", "sa_001.png"]
    assert isinstance(tars, Stream)
    assert tars.shards == (str(tmp_path / "tars" / "a.tar"),)
    reader = StreamReader(tars, 0, 0, 1, Skipped())
    assert sorted(next(reader).path.name for _ in range(4)) == ["sa_000"] * 2 + ["sa_001"] * 2
    assert not reader.skipped.reasons


def test_two_files_of_one_stem_are_damage(tmp_path: Path, writer, tells) -> None:
    writer.sa1b(tmp_path / "pairs", writer.draw(3))
    writer.labels(tmp_path / "labels", writer.draw(3))
    for file in ("pairs/sa_001.png", "labels/images/sa_001.png", "labels/masks/sa_002.png"):
        (tmp_path / file).with_suffix(".jpg" if "masks" not in file else ".tif").write_bytes(b"")

    labels, pairs = open_packs(tmp_path, "train")

    assert len(labels.records[0].annotations) == len(pairs.records[0].annotations) > 0
    for pack, index in ((labels, 1), (labels, 2), (pairs, 1)):
        with tells(DataError, f"sa_00{index}.png", "have one stem"):
            pack.records[index]
    assert len(labels.paths) == len(pairs.paths) == 3


def test_records_are_made_when_asked_for_and_can_be_sliced(tmp_path: Path, writer) -> None:
    (pack,) = open_packs(writer.labels(tmp_path, writer.draw(4)), "train")

    assert [record.path.name for record in pack.records[1::2]] == ["sa_001.png", "sa_003.png"]
    assert pack.records[-1].path.name == "sa_003.png"
    with pytest.raises(IndexError):
        pack.records[4]


# Label images


@pytest.mark.parametrize(
    ("dtype", "suffix"), [("uint8", "png"), ("uint16", "png"), ("uint16", "tif"), ("int32", "tif")]
)
def test_labels_of_every_kind_give_one_mask_for_each_value(tmp_path: Path, dtype: str, suffix: str) -> None:
    labels = np.zeros((9, 12), dtype=dtype)
    labels[1:4, 2:5], labels[5:8, 6:], labels[0, 0] = 3, 200, 255
    if dtype != "uint8":
        labels[5, 0] = 65535
    for child in ("images", "masks"):
        (tmp_path / child).mkdir()
    Image.fromarray(labels).save(tmp_path / "masks" / f"a.{suffix}")
    Image.new("RGB", (12, 9)).save(tmp_path / "images" / "a.jpg")

    (record,) = open_packs(tmp_path, "train")[0].records

    values = np.unique(labels)[1:]
    assert len(record.annotations) == len(values)
    assert all(np.array_equal(record.mask(index), labels == value) for index, value in enumerate(values))
    assert [annotation.area for annotation in record.annotations] == [(labels == value).sum() for value in values]
    assert record.read().shape == (9, 12, 3)


def test_palette_of_a_label_image_is_its_index(tmp_path: Path, writer) -> None:
    writer.labels(tmp_path, writer.draw(1))
    image = Image.fromarray(np.repeat([[0, 1, 5]], 4, axis=0).astype(np.uint8))
    image.putpalette([0, 0, 0, 255, 0, 0, *[9] * 750])
    image.save(tmp_path / "masks" / "sa_000.png")

    (record,) = open_packs(tmp_path, "train")[0].records

    assert [record.mask(index).sum(axis=0).tolist() for index in (0, 1)] == [[0, 4, 0], [0, 0, 4]]


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (lambda path: Image.new("RGB", (48, 48)).save(path), "RGB"),
        (lambda path: path.write_bytes(path.read_bytes()[:60]), "does not read"),
        (lambda path: path.write_bytes(b"words"), "does not read"),
        (lambda path: Image.fromarray(np.full((4, 4), 2**21, np.int32)).save(path, "TIFF"), "2097152"),
        (lambda path: Image.fromarray(np.full((4, 4), 0.5, np.float32)).save(path, "TIFF"), "whole number"),
    ],
)
def test_damaged_label_images_are_told(tmp_path: Path, writer, tells, damage: Any, word: str) -> None:
    writer.labels(tmp_path, writer.draw(1))
    damage(tmp_path / "masks" / "sa_000.png")

    with tells(DataError, "sa_000.png", word):
        open_packs(tmp_path, "train")[0].records[0]


def test_changed_label_image_is_read_again(tmp_path: Path, writer) -> None:
    import os

    writer.labels(tmp_path, writer.draw(1))
    pack = open_packs(tmp_path, "train")[0]
    before = len(pack.records[0].annotations)
    path = tmp_path / "masks" / "sa_000.png"
    Image.fromarray(np.eye(48, dtype=np.uint8)).save(path)
    os.utime(path, (1, 1))

    assert before != 1
    assert len(pack.records[0].annotations) == 1


def test_mask_file_of_another_size_than_its_image_is_told(tmp_path: Path, writer, tells) -> None:
    writer.labels(tmp_path, writer.draw(1))
    Image.fromarray(np.ones((5, 6), dtype=np.uint8)).save(tmp_path / "masks" / "sa_000.png")

    with tells(DataError, "48x48 pixels", "say 6x5"):
        open_packs(tmp_path, "train")[0].records[0].read()


def test_images_of_sixteen_bits_are_refused_rather_than_cut_off(tmp_path: Path, tells) -> None:
    for mode, suffix in ((np.uint16, "png"), (np.uint16, "tif"), (np.float32, "tif")):
        path = tmp_path / f"a.{suffix}"
        Image.fromarray(np.full((4, 6), 3000, dtype=mode)).save(path)
        with tells(DataError, path, "8 bits"):
            ImageRecord(path, 6, 4, ()).read()


def png_of_sixteen_bits(path: Path, colour_type: int, channels: int) -> None:
    """Write a PNG of 6 x 4 pixels as Pillow cannot: it knows 16 bits of gray only."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 6, 4, 16, colour_type, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress((b"\0" + b"\x0b\xb8" * 6 * channels) * 4))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b""))


@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_images_of_sixteen_bits_are_refused_in_every_colour(
    tmp_path: Path, tells, colour_type: int, channels: int
) -> None:
    path = tmp_path / "a.png"
    png_of_sixteen_bits(path, colour_type, channels)

    with tells(DataError, path, "8 bits"):
        ImageRecord(path, 6, 4, ()).read()


def test_black_and_white_mask_is_one_object(tmp_path: Path, writer) -> None:
    writer.labels(tmp_path, writer.draw(1))
    mask = np.eye(48, dtype=bool)
    Image.fromarray(mask).save(tmp_path / "masks" / "sa_000.png")

    (record,) = open_packs(tmp_path, "train")[0].records

    assert len(record.annotations) == 1
    assert np.array_equal(record.mask(0), mask)


def test_images_without_masks_are_read_from_all_folders_and_stand_for_themselves(tmp_path: Path, writer) -> None:
    drawn = writer.draw(12, side=16)
    for number, one in enumerate(drawn):
        folder = tmp_path / "photos" / str(number % 3)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(one.pixels).save(folder / f"{one.name}.png")
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    (tmp_path / "photos" / "._0.png").write_bytes(b"what a Mac leaves")
    (tmp_path / "photos" / ".thumbnails").mkdir()
    Image.fromarray(drawn[0].pixels).save(tmp_path / "photos" / ".thumbnails" / "small.png")

    (pack,) = open_sources(DataSource(path=tmp_path / "photos", format="images"), "train")

    assert isinstance(pack, Pack)
    assert (pack.name, pack.has_masks, len(pack)) == ("photos", False, 12)
    records = records_of(pack, 12)
    assert all(np.array_equal(record.read(), one.pixels) for record, one in zip(records, drawn, strict=True))
    for record in records:
        for index, annotation in enumerate(record.annotations):
            x0, y0, x1, y1 = record.box(index)
            assert record.mask(index).sum() == pytest.approx(annotation.area)
            assert 0 <= x0 < x1 <= 16
            assert 0 <= y0 < y1 <= 16
    assert len({record.box(index) for record in records for index in range(32)}) > 100
    parts = [
        len(records_of(open_sources(DataSource(path=tmp_path / "photos", format="images"), split)[0], 0))
        for split in ("train-fit", "train-search")
    ]
    assert sum(parts) == 12


def test_nothing_is_evaluated_on_images_without_masks(tmp_path: Path, writer, tells) -> None:
    photos = DataSource(path=writer.labels(tmp_path, writer.draw(2)) / "images", format="images")

    with tells(UsageError, "images", "without masks"):
        open_packs(photos, "train")


def test_images_that_are_not_there_or_do_not_open_are_told(tmp_path: Path, tells) -> None:
    with tells(MissingError, "there is no folder"):
        open_sources(DataSource(path=tmp_path / "nowhere", format="images"), "train")
    with tells(MissingError, "has no split 'train'"):
        open_sources(DataSource(path=tmp_path, format="images"), "train")
    (tmp_path / "a.png").write_bytes(b"no image")
    (pack,) = open_sources(DataSource(path=tmp_path, format="images"), "train")
    assert isinstance(pack, Pack)
    with tells(DataError, "a.png", "does not open"):
        pack.records[0]
