"""Outputs of stages: those that the plain encoder has inside, for every subnet."""

import random

import pytest
import torch

from supersam.space import ViTArchitecture, load_space
from supersam.supernet.encoder import stage_ends
from supersam.supernet.supernet import Supernet


@pytest.fixture
def supernet(tiny_space, randomise):
    torch.manual_seed(0)
    return randomise(Supernet(tiny_space)).eval()


def outputs_of_parts(encoder, architecture, x):
    """What stages (or the last layers of stages) put out, by hooks on an extracted encoder."""
    plain = isinstance(architecture, ViTArchitecture)
    parts = [encoder.blocks[end] for end in stage_ends(architecture)] if plain else list(encoder.stages)
    seen = {}
    for part in parts:
        part.register_forward_hook(lambda module, inputs, output: seen.update({id(module): output}))
    embedding = encoder(x)
    return embedding, [seen[id(part)].permute(0, 3, 1, 2) if plain else seen[id(part)] for part in parts]


@pytest.mark.parametrize("seed", range(6))
def test_features_are_the_embedding_and_the_outputs_of_the_stages(supernet, seed):
    architecture = supernet.space.sample(random.Random(seed))
    x = torch.randn(2, 3, architecture.resolution, architecture.resolution)

    with torch.no_grad():
        embedding, stages = supernet.features(x, architecture)
        whole, expected = outputs_of_parts(supernet.extract(architecture), architecture, x)

        assert torch.equal(embedding, supernet(x, architecture))
        assert torch.equal(embedding, whole)
    assert len(stages) == 4
    for ours, theirs in zip(stages, expected, strict=True):
        assert torch.equal(ours, theirs)


def test_gradient_of_a_stage_reaches_what_is_before_it_and_nothing_behind(supernet):
    architecture = supernet.space.largest()
    _, stages = supernet.features(torch.randn(2, 3, architecture.resolution, architecture.resolution), architecture)

    stages[1].square().sum().backward()

    reached = {name for name, parameter in supernet.named_parameters() if parameter.grad is not None}
    behind = [name for name in reached if ".neck." in name or "stages.2." in name or "blocks.3." in name]
    assert any("stages.1." in name or "blocks.1." in name for name in reached)
    assert behind == []


def test_statistics_of_batch_norm_are_used(tiny_staged, randomise):
    supernet = randomise(Supernet(tiny_staged)).eval()
    architecture = tiny_staged.largest()
    x = torch.randn(1, 3, architecture.resolution, architecture.resolution)
    name = next(n for n in supernet.active_tensors(architecture) if n.endswith("running_mean"))
    changed = {name: supernet.active_tensors(architecture)[name] + 1}

    with torch.no_grad():
        assert torch.equal(
            supernet.features(x, architecture, changed)[0], supernet(x, architecture, statistics=changed)
        )
        assert not torch.equal(supernet.features(x, architecture, changed)[0], supernet(x, architecture))


def test_stages_of_sams_vit_end_with_its_global_attention():
    largest = load_space("supersam-vit-b").largest()

    assert stage_ends(largest) == [index for index, layer in enumerate(largest.layers) if layer.window == 0]


def test_stages_of_a_vit_without_some_layers_end_with_the_last_that_is_left(tiny_vit):
    def ends(**removed):
        return stage_ends(tiny_vit.decode(tiny_vit.encode(tiny_vit.largest()) | removed))

    assert ends() == [0, 1, 2, 3]
    assert ends(**{"layer2.mlp": 0}) == [0, 1, 1, 2]
    assert ends(**{"layer1.mlp": 0, "layer2.mlp": 0}) == [0, 0, 0, 1]
