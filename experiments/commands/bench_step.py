"""`keyshift bench step`, `systems` and `compile`: what one training step takes, by itself and as runs make it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from lightning_fabric import Fabric

from ...adapt.methods.baselines import SourceOnly
from ...adapt.methods.regda import RegDA
from ...adapt.strategy import Optimization, Strategy
from ...adapt.trainer import compile_parts, innermost, updates
from ...datasets.bodies.skeletons import H36M17
from ...datasets.sample import BODY_MM, PIXELS, PIXELS_AND_MM, Labeled, Unlabeled
from ...datasets.skeleton import HAND
from ...models.pose_model import PoseModel
from ...models.saved import MODELS
from ...models.systems.pose_resnet import PoseResNet
from .tllib_iteration import iteration as reference_iteration

Step = Callable[[], object]
Alternate = Callable[..., dict[str, float]]
Rows = list[tuple[str, str, str]]
RATES = Optimization(rate=1e-3)
SMALLER: dict[str, dict[str, Any]] = {
    "vitpose": {"width": 192, "layers": 6, "heads": 3},
    "fast_pose": {"backbone": "resnet18"},
    "higher_hrnet": {"backbone": "small"},
    "dekr": {"backbone": "small"},
    "dcpose": {"backbone": "small"},
    "anatomy3d": {"channels": 256, "widths": [3, 3, 3]},
    "li_chan": {},
    "li_chan_3d": {},
    "rmpe": {"network": {"name": "fast_pose", "backbone": "resnet18"}},
}
"""Options of the systems that are measured; of the others a ResNet-18 stands below."""


def step(
    strategy: Strategy, source: Labeled, target: Unlabeled, precision: str = "32-true", layout: bool = False
) -> Step:
    """One iteration as a run makes it; with `layout` the channels of pictures are innermost."""
    fabric = Fabric(accelerator=source.camera.device.type, devices=1, precision=cast(Any, precision))
    if layout:
        strategy.to(memory_format=torch.channels_last)
        source, target = source.each(innermost), target.each(innermost)
    optimizers = strategy.optimizers()
    return lambda: list(updates(fabric, strategy, optimizers, source, target))


def plain_step(model: PoseModel, batch: Labeled) -> Step:
    """A supervised step as it is first written: float32, channels outermost, one operation after another."""
    optimizer = torch.optim.SGD(model.parameters(), 1e-3, momentum=0.9, nesterov=True, foreach=False, fused=False)

    def run() -> None:
        optimizer.zero_grad()
        torch.stack(list(model.loss(model(batch), batch).values())).sum().backward()
        optimizer.step()

    return run


def regda_rows(made: Callable[[], PoseResNet], source: Labeled, alternate: Alternate) -> Rows:
    """RegDA against TLLib's iteration, all in turn."""
    target, device = source.without_labels(), source.camera.device
    reference = made().to(device).train()
    reference.restart_head(2)
    reference.to(device)
    sides: dict[str, Step] = {"TLLib": reference_iteration(reference, source, target, RATES)}
    for name, precision, layout in (
        ("fp32", "32-true", False),
        ("fp32, channels_last", "32-true", True),
        ("bf16, channels_last", "bf16-mixed", True),
    ):
        sides[name] = step(RegDA(made(), HAND, RATES).to(device).train(), source, target, precision, layout)
    seconds = alternate(sides, rounds=3)
    claims = {
        "fp32, channels_last": "at most 0.7",
        "bf16, channels_last": "at most 0.35 with bf16 in hardware, 0.25 with tiles (AMX)",
    }
    rows = [
        (f"RegDA's iteration, {name} / TLLib's", f"{seconds[name] / seconds['TLLib']:.3f}", claims.get(name, ""))
        for name in sides
        if name != "TLLib"
    ]
    return [*rows, (f"seconds of TLLib's, batch {len(source)} + {len(source)}", f"{seconds['TLLib']:.3f}", "")]


def compile_rows(made: Callable[[], PoseResNet], source: Labeled, alternate: Alternate) -> Rows:
    """RegDA's iteration as torch.compile makes it, against the same as it is written."""
    target, device, rows = source.without_labels(), source.camera.device, []
    for precision in ("32-true", "bf16-mixed"):
        strategies = [RegDA(made(), HAND, RATES).to(device).train() for _ in range(2)]
        compile_parts(strategies[1])
        written, compiled = (step(one, source, target, precision, layout=True) for one in strategies)
        seconds = alternate({"written": written, "compiled": compiled}, rounds=5, warm=2)
        share = seconds["compiled"] / seconds["written"]
        rows.append((f"RegDA's iteration of a small network, compiled / as written, {precision}", f"{share:.3f}", ""))
    return rows


def system_rows(device: str, alternate: Alternate, batch: int = 4, rounds: int = 2) -> Rows:
    """Each system's supervised step as runs make it, and in bf16, against its plain form."""
    rows = []
    for name, kind in MODELS.items():
        if name == "own":  # a network of the user's
            continue
        models = [small(kind).to(device).train() for _ in range(4)]
        sample = labelled(models[0], batch).to(device)
        sides: dict[str, Step] = {"plain": plain_step(models[0], sample)}
        for model, (side, precision, layout) in zip(
            models[1:],
            (("fp32", "32-true", False), ("fp32 last", "32-true", True), ("bf16 last", "bf16-mixed", True)),
            strict=True,
        ):
            sides[side] = step(SourceOnly(model, H36M17, RATES), sample, sample.without_labels(), precision, layout)
        seconds = alternate(sides, rounds=rounds)
        shares = {side: f"{seconds[side] / seconds['plain']:.2f}" for side in sides}
        value = f"{shares['fp32']} fp32, {shares['fp32 last']} channels_last, {shares['bf16 last']} bf16"
        rows.append((f"{name}'s step / its plain form", value, ""))
    return rows


def small(kind: type[PoseModel]) -> PoseModel:
    """A system of Human3.6M's joints with a small network, for pictures of 128 x 128."""
    name = next(name for name, one in MODELS.items() if one is kind)
    options = dict(SMALLER.get(name, {"backbone": "resnet18"}))
    if "keypoints2d" not in kind.reads:
        options["input_size"] = [128, 128]
    if name in ("pose_resnet", "dsnt"):
        options["heatmap_size"] = [32, 32]
    skeleton = kind.learns(H36M17)
    torch.manual_seed(0)
    return kind(len(skeleton), kind.Options(**options)).know(skeleton)


def labelled(model: PoseModel, batch: int) -> Labeled:
    """Noise of what a system reads, with labels: one person in the middle of each sample."""
    one, joints = model.empty(), model.keypoints
    width, height = model.input_size
    inputs = {
        key: value.expand(batch, *value.shape[1:]).clone() if key in ("image", "reach") else model.example(key, batch)
        for key, value in one.inputs.items()
    }
    if "keypoints2d" in inputs:
        inputs["lens"] = model.example("lens", batch)
    if "reach" in inputs:
        inputs["image"].normal_(0, 60).clamp_(-100, 100)
    elif "image" in inputs:
        inputs["image"].random_(0, 256)
    flat = one.space == PIXELS
    places = torch.rand(batch, joints, 2 if flat else 3)
    scale = torch.tensor([width, height] + ([] if flat else [100]), dtype=torch.float32)
    if one.space == BODY_MM:
        scale = torch.full((3,), 500.0)
    if one.space == PIXELS_AND_MM and "reach" not in inputs:  # the distance of a root
        places[..., 2] += 40
    known = torch.ones(batch, joints, dtype=torch.bool)
    dims = places.shape[-1]
    return Labeled(
        inputs=inputs if flat or "reach" in inputs else inputs | {"extent": torch.full((batch,), 2000.0)},
        id=tuple(map(str, range(batch))),
        sequence=("",) * batch,
        frame=torch.arange(batch),
        camera=torch.tensor([1000.0, 1000.0, width / 2, height / 2]).repeat(batch, 1),
        to_file=torch.eye(dims, dims + 1).repeat(batch, 1, 1),
        side=torch.full((batch,), float(width)),
        space=one.space,
        keypoints=places * scale,
        visible=known,
        annotated=known,
        image_index=torch.arange(batch),
    )
