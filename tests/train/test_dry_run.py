"""What a dry run says: counts by hand, bytes that are kept, and whether the data can be read."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch

from supersam.data.synthetic import write_pack
from supersam.errors import DataError, EnvironmentProblem
from supersam.space.parts import count
from supersam.train import dry_run as dry
from supersam.train import setup
from supersam.train.config import TrainConfig
from supersam.train.dry_run import (
    _activation_bytes,
    _allocated_bytes,
    _decoder_gmacs,
    _most_demanding,
    _not_counted,
    decoder_gmacs,
    dry_run,
    state_bytes,
)
from supersam.train.loss_model import LossModel
from supersam.train.objective import Settings
from supersam.train.plan import plan_step
from supersam.train.state import STATE_FILE, WEIGHTS_FILE
from supersam.train.teachers import Teacher

TOKENS = 7  # five of the decoder's own and two corners of a box


def attention(n_queries, n_keys, inner):
    """MACs of an attention of 256 channels whose projections are ``inner`` wide."""
    projections = 256 * inner * (n_queries + n_keys + n_keys) + inner * 256 * n_queries
    return projections + 2 * n_queries * n_keys * inner


def shared_layer(image, prompts):
    """MACs of the cross attentions of a layer that sees one image for all prompts, in the order of decisions/0015."""
    tokens = prompts * TOKENS
    looking = attention(tokens, image, 128)
    telling = 256 * 128 * (image + 2 * tokens) + tokens * image * 128 + tokens * 128 * 256
    return looking + telling + image * 8 * tokens * 256


def own_layer(image):
    """MACs of looking at the image of a prompt's own and of telling it, nothing of the image being projected."""
    carried = TOKENS * 128 * 256
    looking = 4 * carried + 2 * 8 * TOKENS * image * 256
    telling = 4 * carried + TOKENS * 128 + 2 * 8 * TOKENS * image * 256
    return looking, telling


def by_hand(side, prompts):
    """MACs of SAM's mask decoder for the boxes of an image."""
    image, (looking, telling) = side * side, own_layer(side * side)
    tokens = 2 * (attention(TOKENS, TOKENS, 256) + 2 * TOKENS * 256 * 2048)
    upscaling = image * 256 * 64 * 4 + 4 * image * 64 * 32 * 4
    heads = 4 * (2 * 256 * 256 + 256 * 32) + 2 * 256 * 256 + 256 * 4
    masks = 4 * 32 * 16 * image
    own = tokens + 2 * looking + telling + upscaling + heads + masks  # the second layer and the last look
    first = shared_layer(image, prompts) if prompts > 1 else looking + telling
    return (prompts * own + first) / 1e9


@pytest.mark.parametrize("prompts", [1, 8])
@pytest.mark.parametrize("resolution", [64, 256, 1024])
def test_the_decoders_arithmetic_is_that_of_a_count_by_hand(resolution, prompts):
    positions = (2 * prompts + (resolution // 16) ** 2) * 2 * 128  # Fourier features of the corners and of the grid

    found = decoder_gmacs(resolution, prompts)

    assert found == pytest.approx(by_hand(resolution // 16, prompts), abs=2 * positions / 1e9)


def test_a_prompt_on_sams_own_grid_costs_1_02_gmacs():
    assert decoder_gmacs(1024) == pytest.approx(1.02, abs=0.01)  # 1.81 as segment-anything computes it


@pytest.fixture(scope="module")
def config(space_file, shapes, tmp_path_factory):
    return TrainConfig(
        space=str(space_file),
        data=shapes,
        split="train",
        out=tmp_path_factory.mktemp("dry") / "run",
        images_per_step=2,
        steps=10,
        points_per_image=2,
        boxes_per_image=1,
        phases=[
            {"until": 0.25, "subnets": "uniform", "resolution_weights": {64: 1.0}},
            {"random_subnets": 0, "correction_rounds": 2, "resolution_weights": {64: 1.0}},
        ],
    )


@pytest.fixture(scope="module")
def plan(config):
    return dry_run(config)


def test_steps_and_arithmetic_are_those_of_the_phases(config, plan, build_run):
    run = build_run(config)

    assert [phase.steps for phase in plan.phases] == [3, 7]  # step 2 is before a quarter of ten
    decoder = [2 * decoder_gmacs(64, 3), 2 * 2 * 3 * decoder_gmacs(64, 3)]  # images, subnets, rounds, prompts of each
    for phase, begins, gmacs in zip(plan.phases, (0, 3), decoder, strict=True):
        drawn = [begins + phase.steps * number // 64 for number in range(64)]
        losses = LossModel(run.trained_space)
        plans = [plan_step(config, run.space, run.trained_space, losses, step) for step in drawn]
        encoder = 2 * sum(count(subnet).gmacs for one in plans for subnet in one.subnets) / 64
        assert phase.gmacs_per_step == pytest.approx(3 * (encoder + gmacs))
        assert phase.decoder_share == pytest.approx(gmacs / (encoder + gmacs))
        assert 0 < phase.seconds_per_step[0] <= phase.seconds_per_step[1] <= phase.seconds_per_step[2]


def test_hours_are_steps_times_seconds(plan):
    for number, hours in enumerate(plan.hours):
        assert hours == pytest.approx(sum(p.steps * p.seconds_per_step[number] for p in plan.phases) / 3600)


def test_memory_is_that_of_the_weights_and_of_a_graph(config, plan, build_run):
    parameters = sum(parameter.numel() for parameter in build_run(config).objective.parameters())

    assert plan.parameters == parameters
    assert plan.state_bytes == 16 * parameters  # weights, gradients and two moments
    logits = 4 * 2 * 3 * 3 * 4 * 16 * 16  # float32, images, prompts, rounds, masks, pixels
    assert 10 * logits < plan.activation_bytes < 1e9


def test_memory_is_that_of_the_most_demanding_step_however_seldom_it_comes(changed, build_run):
    def kept(**phase):
        return _activation_bytes(build_run(changed(phases=[{"resolution_weights": {64: 1.0}, **phase}])), 0, 4)

    often, plain = kept(correction_rounds=2), kept()

    assert kept(correction_rounds=2, correction_probability=1e-9) == pytest.approx(often, rel=0.01)
    assert often > 1.2 * plain
    assert kept(resolution_weights={64: 1.0, 128: 1e-9}) > 1.5 * plain


def test_every_set_of_lessons_of_a_phase_is_tried(changed, build_run):
    def plans(**lessons):
        distillation = {"teacher": "starter", "subnet": "largest", **lessons}
        config = changed(steps=30, distillation=distillation, phases=[{"until": 0.9}, {"subnets": "uniform"}])
        run = SimpleNamespace(
            config=config, space=run_space, trained_space=run_space, losses_of_subnets=LossModel(run_space)
        )
        return _most_demanding(run, 0, 27), run

    run_space = build_run(changed()).space
    late = {"embedding": {"stop": 0.5}, "prompts": {"start": 0.5, "rounds": 2}, "supervised": 0}

    found, run = plans(**late)
    decoded = [
        _decoder_gmacs(run, plan) / (len(plan.subnets) * plan.images * decoder_gmacs(plan.resolution, 2))
        for plan in found
    ]

    assert [plan.settings.progress for plan in found] == [0.0, 26 / 30]  # the last of each kind, at the most pixels
    assert decoded == pytest.approx([0, 3])  # no decoder for the embedding alone, then an answer and two clicks
    assert len(plans(embedding={}, supervised=0)[0]) == 1


@pytest.mark.parametrize(
    ("engine", "world", "copies"),
    [
        ({}, 1, 5),
        ({"strategy": "fsdp"}, 1, 5),
        ({}, 8, 6),
        ({"strategy": "fsdp"}, 8, 5 / 8 + 2),  # docs/decisions/0005
    ],
)
def test_several_processes_hold_what_their_engine_adds(changed, engine, world, copies):
    config = changed(engine=engine, optimization={"ema": 0.9})

    assert state_bytes(1000, config, world) == 4 * copies * 1000


def test_what_fsdp_gathers_is_counted_once(changed):
    config = changed(engine={"strategy": "fsdp"})

    assert state_bytes(1000, config, 8, gathered_is_activation=True) == 4 * 4 / 8 * 1000


def test_on_a_gpu_the_memory_is_what_a_pass_allocates_besides_gradients(changed, build_run, monkeypatch):
    run = build_run(changed(engine={"activation_checkpointing": True}))
    batch = next(run.feed.samples(64, 2))
    passes, gradients = [], []

    def forward():
        passes.append(run.model.image_encoder.recomputes)
        return run.objective(batch, run.space.smallest(), Settings())

    def allocated():
        gradients.append(any(parameter.grad is not None for parameter in run.objective.parameters()))
        return 100

    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", allocated)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 350)

    assert _allocated_bytes(run, forward) == 250
    assert passes == [True, True]
    assert gradients == [True]
    assert all(parameter.grad is None for parameter in run.objective.parameters())


@pytest.mark.usefixtures("patch_teacher")
def test_the_graph_of_a_distillation_without_masks_is_counted(changed, build_run):
    run = build_run(changed(distillation={"teacher": "x", "supervised": 0}))

    assert _activation_bytes(run, 0, 4) > 1e6


def test_a_gpu_that_is_too_small_is_told_in_one_line(changed, monkeypatch, tells):
    def full(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(dry, "train_step", full)

    with tells(EnvironmentProblem, "activation_checkpointing", "images_per_step"):
        dry_run(changed())


def test_a_teacher_is_said_not_to_be_counted(build_run, tiny_config):
    teacher = Teacher("sam.pth", torch.nn.Conv2d(3, 256, 16, bias=False), 64)

    told = _not_counted(SimpleNamespace(distiller=SimpleNamespace(teacher=teacher)))

    assert told == "the teacher sam.pth (0.00 GB of weights, its arithmetic and activations)"
    assert _not_counted(build_run(tiny_config)) == ""


def test_an_average_costs_a_copy(config, plan):
    content = {name: getattr(config, name) for name in TrainConfig.model_fields}

    other = dry_run(TrainConfig.model_validate(content | {"steps": 2, "optimization": {"ema": 0.9}}))

    assert other.state_bytes == 20 * plan.parameters


def test_nothing_is_kept_and_everything_can_be_written_as_json(config, plan):
    assert not (config.out / STATE_FILE).exists()
    assert not (config.out / WEIGHTS_FILE).exists()
    content = json.loads(json.dumps(plan.to_dict()))
    assert [text.partition(",")[0] for text in content["data"]] == ["shapes: 12 images"]
    assert content["skipped"]["kinds"]["image"]["seen"] == 12
    assert len(content["hours"]) == 3


def test_seeded_shapes_are_not_kept_either(changed, tmp_path, monkeypatch):
    monkeypatch.setattr(setup, "write_pack", lambda folder: write_pack(folder, n_train=3, n_val=1, side=64))

    found = dry_run(changed(data="synthetic", steps=1))

    assert found.data[0].startswith("synthetic: 3 images")
    assert not list(tmp_path.iterdir())


def test_a_phase_that_is_too_short_for_a_step_costs_nothing(changed):
    phases = [{"until": 0.5, "resolution_weights": {64: 1.0}}, {"until": 0.9}, {}]

    found = dry_run(changed(steps=1, phases=phases))

    assert [phase.steps for phase in found.phases] == [1, 0, 0]
    assert found.hours[1] > 0


def test_broken_data_is_refused(changed, shapes, tmp_path, tells):
    data = tmp_path / "data"
    shutil.copytree(shapes, data)
    annotations = data / "annotations" / "instances_train.json"
    content = json.loads(annotations.read_text())
    content["annotations"] = [
        {**one, "id": number, "segmentation": {**one["segmentation"], "counts": "~" * 9}}
        for number, one in enumerate(content["annotations"] * 4)
    ]
    annotations.write_text(json.dumps(content))

    with tells(DataError, "had to be skipped"):
        dry_run(changed(data=data))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_dry_run_on_a_gpu(config):
    content = {name: getattr(config, name) for name in TrainConfig.model_fields}
    assert dry_run(TrainConfig.model_validate(content | {"engine": {"device": "cuda"}})).phases
