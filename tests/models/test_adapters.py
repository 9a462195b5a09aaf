"""Adapters: what they freeze, what learns, what is saved, and that merging them changes no answer."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from keyshift.adapt.methods.baselines import SourceOnly
from keyshift.adapt.methods.dann import DANN
from keyshift.adapt.methods.mean_teacher import MeanTeacher
from keyshift.adapt.methods.regda import RegDA
from keyshift.adapt.strategy import Optimization
from keyshift.datasets.skeleton import Skeleton
from keyshift.models.export import Decoded
from keyshift.models.parts.adapters import LowRank, adapted, add_adapters
from keyshift.models.parts.deformable import DeformConv
from keyshift.models.saved import load_model, save_model
from keyshift.models.systems.pose_resnet import PoseResNet
from keyshift.models.systems.vitpose import ViTPose

ADAM = Optimization("adam", 3e-3, {}, 0.0, gamma=0.0)
METHODS = {
    "source_only": (SourceOnly, SourceOnly.Options()),
    "mean_teacher": (MeanTeacher, MeanTeacher.Options(decay=0.5, soft_reset=0.9)),
    "regda": (RegDA, RegDA.Options(head_layers=1, warmup=2)),
    "dann": (DANN, DANN.Options(width=8, warmup=2)),
}
SKELETON = Skeleton("dots", ("red", "green", "blue"), edges=((0, 1), (1, 2)))


def network(backbone="small", rank=2):
    if backbone.startswith("timm"):
        pytest.importorskip("timm")
    torch.manual_seed(0)
    options = PoseResNet.Options(backbone=backbone, input_size=[32, 32], heatmap_size=[8, 8], channels=16, sigma=1.0)
    return PoseResNet(3, options).with_adapters(rank)


def trained(kind, options, model, dots, batches, iterate, steps=3):
    strategy = kind(model, dots.skeleton, ADAM, options=options).train()
    optimizers = strategy.optimizers()
    source, target = batches(dots, strategy, "plain", "source"), batches(dots, strategy, "shifted", "target")
    for step in range(steps):
        iterate(strategy, source[step], target[step], optimizers)
    return strategy, optimizers


def test_deformable_layers_have_one_too():
    network = nn.Sequential(nn.BatchNorm2d(6), DeformConv(6, 8, 3))
    add_adapters(network, 2)
    assert list(adapted(network)) == [network[1]]


def test_a_weight_has_a_change_of_low_rank():
    torch.manual_seed(0)
    for layer in (nn.Linear(6, 8), nn.Conv2d(6, 8, 3), nn.Conv2d(8, 8, 3, groups=8)):
        change = LowRank(layer.weight, 2)
        assert torch.equal(change(layer.weight), layer.weight)  # at first none
        nn.init.normal_(change.up)
        low = (change(layer.weight) - layer.weight).flatten(1)
        assert torch.linalg.matrix_rank(low.detach(), rtol=1e-4) <= 2
        assert torch.allclose(low, change.up @ change.down, atol=1e-6)


@pytest.mark.parametrize("backbone", ["small", "timm:test_vit"])
@pytest.mark.parametrize("name", METHODS)
def test_strategies_train_adapters_norms_and_head(dots, batches, iterate, name, backbone):
    model = network(backbone)
    before = {key: value.clone() for key, value in model.named_parameters()}
    kind, options = METHODS[name]
    strategy, optimizers = trained(kind, options, model, dots, batches, iterate)
    for network_of in {strategy.model, strategy.predictor}:
        for key, value in network_of.named_parameters():
            learns = not key.startswith("backbone.") or "norm" in key or "bn" in key or key.endswith((".up", ".down"))
            learns |= key.startswith("backbone.stem.1") or "downsample.1" in key  # norms of other names
            if not learns:
                assert torch.equal(value, before[key]), key
            elif key.endswith(".up"):
                assert not torch.equal(value, before[key]), key
    owned = [id(p) for o, _ in optimizers.values() for g in o.param_groups for p in g["params"]]
    assert set(owned) == {id(p) for p in strategy.parameters() if p.requires_grad}
    assert len(owned) == len(set(owned)) > 0


def test_a_teacher_is_the_average_of_adapters(dots, batches, iterate):
    model = network()
    first = deepcopy(dict(model.named_parameters()))
    strategy, _ = trained(MeanTeacher, MeanTeacher.Options(decay=0.5), model, dots, batches, iterate, 1)
    for key, value in strategy.teacher.named_parameters():
        assert torch.allclose(value, 0.5 * (first[key] + dict(model.named_parameters())[key]), atol=1e-7), key


def test_soft_reset_draws_adapters_back(dots, batches, iterate):
    options = SourceOnly.Options(soft_reset=0.0)
    strategy, _ = trained(SourceOnly, options, network(), dots, batches, iterate)
    given = dict(network().named_parameters())
    assert all(torch.allclose(value, given[key]) for key, value in strategy.model.named_parameters())


@pytest.mark.parametrize(
    "backbone", ["small", "mobilenet_v3_small", "hrnet_w18_small", "timm:test_vit", "timm:test_convnext"]
)
def test_merging_changes_no_answer(tmp_path, dots, batches, iterate, backbone):
    strategy, _ = trained(SourceOnly, None, network(backbone), dots, batches, iterate)
    model, sample = strategy.model.eval(), batches(dots, strategy, "plain", "source")[9]
    save_model(tmp_path / "weights.pt", model, SKELETON, 3)
    again = load_model(tmp_path / "weights.pt")[0].eval()
    assert again.options.adapters == 2
    merged = again.merged()
    assert merged.options.adapters == 0
    plain = network(backbone, 0)
    plain.load_state_dict(merged.state_dict())  # the keys are those of a network that never had any
    with torch.no_grad():
        wanted = model(sample).logits
        assert torch.equal(again(sample).logits, wanted)
        scale = wanted.abs().max()
        for one in (merged, plain.eval(), Decoded(again).model):
            assert (one(sample).logits - wanted).abs().max() <= 1e-5 * scale
    assert merged.merged() is merged
    assert all(p.requires_grad for p in merged.parameters())


def test_few_parameters_learn():
    model = network("resnet18", 4)
    learned = sum(p.numel() for p in model.groups()["backbone"])
    assert learned < 0.04 * sum(p.numel() for p in model.backbone.parameters())


def test_a_system_without_a_backbone(toys):
    model = toys.Lifter(3, toys.Lifter.Options(channels=8))
    assert model.with_adapters(0) is model
    del model.backbone
    with pytest.raises(ValueError, match="Lifter has no part `backbone`"):
        model.with_adapters(2)


def test_vitpose_adapts(dots, batches, iterate):
    pytest.importorskip("transformers")
    torch.manual_seed(0)
    options = ViTPose.Options(input_size=[32, 32], width=16, layers=1, heads=2, sigma=1.0)
    model = ViTPose(3, options).with_adapters(2)
    before = deepcopy(model)
    strategy, _ = trained(MeanTeacher, MeanTeacher.Options(decay=0.5), model, dots, batches, iterate)
    for key, value in strategy.teacher.named_parameters():
        learns = not key.startswith("backbone.") or "layernorm" in key or key.endswith((".up", ".down"))
        assert learns or torch.equal(value, before.get_parameter(key)), key
    sample = batches(dots, strategy, "plain", "source")[9]
    with torch.no_grad():
        assert torch.allclose(model.eval()(sample).logits, model.merged()(sample).logits, atol=1e-5)
        assert not torch.allclose(model(sample).logits, before.eval()(sample).logits, atol=1e-3)
