"""Weights of packs and prompts, measurements kept and learnt from, halving, and the verified front."""

import json
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest

from supersam.data.sources import open_packs
from supersam.data.synthetic import write_pack
from supersam.errors import UsageError
from supersam.latency import Latency
from supersam.results import Accuracy, Candidate, pareto_front
from supersam.search.accuracy_cache import AccuracyCache, Measurement, cache_dir, data_fingerprint
from supersam.search.halving import FIRST, RUNGS, Halving, Pruned, split_rungs
from supersam.search.learning import LEAST, LearningAccuracy
from supersam.search.objective import Objective, parse_objective
from supersam.search.report import on_device
from supersam.search.verify import verify

PACKS = {"birds": {"point1": 0.2, "box": 0.4}, "cars": {"point1": 0.6, "box": 0.8}}
MEASURED = Accuracy(0.5, "measured", (0.46, 0.54), PACKS)


def test_without_weights_an_accuracy_is_what_it_was():
    assert Objective().apply(MEASURED) is MEASURED


@pytest.mark.parametrize(
    ("texts", "value"),
    [
        (["cars=0"], 0.3),
        (["cars=3"], 0.6),
        (["box=0,cars=0"], 0.2),
        (["birds=2", "box=3"], (2 * 0.2 + 6 * 0.4 + 0.6 + 3 * 0.8) / 12),
    ],
)
def test_weights_of_packs_and_prompts_multiply(texts, value):
    weighed = parse_objective(texts).apply(MEASURED)

    assert weighed.value == pytest.approx(value)
    assert weighed.packs == PACKS
    assert weighed.interval[0] <= value <= weighed.interval[1]


def test_the_interval_of_equal_weights_stays_and_that_of_one_cell_covers_all_its_error():
    same = parse_objective(["birds=2", "cars=2"]).apply(MEASURED)
    one = parse_objective(["birds=0", "box=0"]).apply(MEASURED)

    assert same.interval == pytest.approx(MEASURED.interval)
    assert one.interval[1] - one.interval[0] == pytest.approx(4 * (0.54 - 0.46))  # as if all the error were in it


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["bird=1"], "Did you mean 'birds'"),
        (["cars=0,birds=0"], "weigh nothing"),
        (["cars"], "nuclei=2"),
        (["cars=-1"], "nuclei=2"),
        (["cars=inf"], "nuclei=2"),
    ],
)
def test_a_weight_that_makes_no_sense_is_refused(texts, words, tells):
    with tells(UsageError, words):
        parse_objective(texts).apply(MEASURED)


def test_a_measurement_is_kept_for_its_protocol_only(tmp_path):
    cache = AccuracyCache({"weights": "a"}, tmp_path / "x")
    measurement = Measurement(MEASURED, ((MEASURED, 4),))
    cache.put("0123456789", measurement)

    assert AccuracyCache({"weights": "a"}, tmp_path / "x").get("0123456789") == measurement
    assert AccuracyCache({"weights": "b"}, tmp_path / "x").get("0123456789") is None
    assert cache.get("9876543210") is None
    assert json.loads((cache.folder / "protocol.json").read_text()) == {"weights": "a"}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"value": "x", "interval": [0, 1], "packs": {}}'])
def test_a_damaged_measurement_is_made_again(tmp_path, content):
    cache = AccuracyCache({}, tmp_path)
    cache.put("0123456789", Measurement(MEASURED))
    (cache.folder / "0123456789.json").write_text(content)

    assert cache.get("0123456789") is None


def test_the_cache_is_where_the_user_wants_it(monkeypatch, tmp_path):
    monkeypatch.setenv("SUPERSAM_CACHE", str(tmp_path / "mine"))
    assert cache_dir() == tmp_path / "mine"
    monkeypatch.delenv("SUPERSAM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "supersam"


def test_other_images_or_other_masks_are_other_data(tmp_path):
    (tmp_path / "annotations").mkdir()
    annotations = tmp_path / "annotations" / "instances_val.json"
    annotations.write_text("[1]")
    (tmp_path / "a.jpg").write_bytes(b"12")
    before = data_fingerprint(tmp_path, ["val"])

    assert data_fingerprint(tmp_path, ["val"]) == before
    annotations.write_text("[2]")
    changed = data_fingerprint(tmp_path, ["val"])
    (tmp_path / "a.jpg").write_bytes(b"123")
    assert len({before, changed, data_fingerprint(tmp_path, ["val"])}) == 3


@pytest.mark.parametrize("name", ["sa_1.json", "masks/a.png", "annotations/instances_val.json"])
def test_other_annotations_of_the_same_size_are_other_data_in_every_format(tmp_path, name):
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"1")
    before = data_fingerprint(tmp_path, ["val"])

    file.write_bytes(b"2")

    assert data_fingerprint(tmp_path, ["val"]) != before


def test_data_behind_a_link_is_known_by_its_content(tmp_path):
    for name in ("one", "other"):
        write_pack(tmp_path / name / "pack", n_train=1, n_val=1, side=32)
        (tmp_path / f"linked-{name}").mkdir()
        (tmp_path / f"linked-{name}" / "pack").symlink_to(tmp_path / name / "pack")
    (tmp_path / "other" / "pack" / "annotations" / "instances_val.json").write_text("{}")

    (tmp_path / "one" / "pack" / "round").symlink_to(tmp_path / "one")
    direct, linked = (data_fingerprint(tmp_path / name, ["val"]) for name in ("one", "linked-one"))

    assert direct == linked  # and a link that leads back is not followed
    assert linked != data_fingerprint(tmp_path / "linked-other", ["val"])


def test_an_annotation_file_is_known_by_its_content_and_its_images(tmp_path):
    folder = write_pack(tmp_path / "pack", n_train=1, n_val=2, side=32)
    (file,) = (folder / "annotations").glob("*val.json")
    packs = open_packs(file, "val")
    before = data_fingerprint(file, ["val"], packs)
    content = file.read_text()

    file.write_text(content + " ")
    changed = data_fingerprint(file, ["val"], packs)
    file.write_text(content)
    packs[0].records[0].path.write_bytes(b"")

    assert len({before, changed, data_fingerprint(file, ["val"], packs)}) == 3


@pytest.mark.parametrize("n", [1, 2, 5, 16, 33])
def test_rungs_take_every_image_once_and_spread_the_first_ones(n):
    portions = split_rungs(list(range(n)))

    assert sorted(record for portion in portions for record in portion) == list(range(n))
    assert len(portions) == len(RUNGS) + 1
    assert len(portions[0]) == max(1, round(RUNGS[0] * n))
    if n >= 16:
        assert {portions[0][0], portions[0][-1]} == {0, n - 1}


def test_halving_gives_up_what_is_far_below_those_as_fast(space, rng):
    architectures = list(dict.fromkeys(space.sample(rng) for _ in range(60)))
    latency = {architecture: float(at) for at, architecture in enumerate(architectures)}
    halving = Halving(lambda architecture: [latency[architecture]])
    pruned = []
    for architecture in architectures:
        bad = int(architecture.digest, 16) % 2
        try:
            halving.check(0, architecture, 0.5 - 0.3 * bad + 0.001 * latency[architecture], 4)
        except Pruned:
            pruned.append(bad)

    assert pruned
    assert all(pruned), "what rises with latency is never given up"
    first = Halving(lambda architecture: [1.0])
    for at, architecture in enumerate(architectures[:FIRST]):
        first.check(0, architecture, -float(at), 4)  # the first always go on


@pytest.mark.parametrize(("other_ms", "given_up"), [(9.0, True), (0.5, False)])
def test_halving_keeps_what_is_good_on_one_of_several_devices(space, rng, other_ms, given_up):
    latencies = {space.sample(rng): [1.0, 1.0] for _ in range(FIRST + 4)}
    halving = Halving(latencies.__getitem__)
    for at, architecture in enumerate(latencies):
        halving.check(0, architecture, 0.5 + 0.001 * at, 4)
    weak = space.sample(rng)
    latencies[weak] = [2.0, other_ms]

    with pytest.raises(Pruned) if given_up else nullcontext():
        halving.check(0, weak, 0.3, 4)


def test_a_learning_accuracy_measures_what_may_be_on_the_front_and_predicts_the_rest(space, problem_of, truth, rng):
    problem = problem_of(space)
    asked = []

    def measure(architecture):
        asked.append(architecture)
        return truth(architecture)

    source = LearningAccuracy(measure, problem, n_measurements=40)
    architectures = list(dict.fromkeys(space.sample(rng) for _ in range(150)))
    found = [source(architecture) for architecture in architectures]

    assert LEAST <= len(asked) <= 40
    assert len(asked) == len(set(asked))
    predicted = [(a, one) for a, one in zip(architectures, found, strict=True) if one.source == "predicted"]
    assert len(predicted) == len(found) - len(asked)
    errors = [abs(truth(architecture).value - one.value) for architecture, one in predicted]
    assert np.mean(errors) < 0.3 * np.std([truth(architecture).value for architecture in architectures])
    assert source(asked[0]).source == "measured"


def made(space, rng, ms, value, source):
    latency = Latency(ms, ms, ms, "measured")
    return Candidate(space.sample(rng), Accuracy(value, source, (value, value)), latency)


def test_the_front_is_measured_until_nothing_on_it_is_predicted(space, rng):
    candidates = [made(space, rng, float(at), 0.1 * at, "predicted") for at in range(1, 6)]
    candidates.append(made(space, rng, 6.0, 0.05, "predicted"))  # not on the front
    told = []

    found = verify(
        candidates,
        None,
        lambda a: Accuracy(0.9 if a == candidates[0].architecture else 0.3, "measured", (0, 1)),
        told.append,
    )

    # The slowest comes first and falls, and so on, until the fastest turns out to beat all of them.
    assert found[candidates[0].digest].accuracy == Accuracy(0.9, "measured", (0, 1))
    assert found[candidates[5].digest].accuracy.source == "predicted"
    assert [one.digest for one in told] == [one.digest for one in reversed(candidates[:5])]


def test_the_fronts_of_all_devices_are_measured(space, rng):
    candidates = [made(space, rng, float(at), 0.1 * at, "predicted") for at in range(1, 6)]
    turned = [replace(one, also={"other": Latency(9.0 - one.latency.ms, 1.0, 9.0, "measured")}) for one in candidates]
    slow = made(space, rng, 7.0, 0.05, "predicted")  # on the front of the other device alone
    turned.append(replace(slow, also={"other": Latency(1.0, 1.0, 1.0, "measured")}))

    found = verify(turned, None, lambda a: Accuracy(0.3, "measured", (0, 1)), lambda measured: None)

    fronts = pareto_front(found.values()) + pareto_front(on_device(one, "other") for one in found.values())
    assert {one.accuracy.source for one in fronts} == {"measured"}
    assert found[turned[-1].digest].accuracy.source == "measured"


def test_no_more_is_measured_than_was_asked_for(space, rng):
    candidates = [made(space, rng, float(at), 0.1 * at, "predicted") for at in range(1, 6)]

    found = verify(candidates, 2, lambda a: Accuracy(0.3, "measured", (0, 1)), lambda measured: None)

    assert sum(one.accuracy.source == "measured" for one in found.values()) == 2
