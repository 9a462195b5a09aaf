"""AWR: every pixel of a depth image votes for each joint by an offset in space, weighted by how near it says it is.

Huang et al., "AWR: Adaptive Weighting Regression for 3D Hand Pose Estimation", AAAI 2020;
Elody-07/AWR-Adaptive-Weighting-Regression @ 1d0e440, model/*.py, util/feature_tool.py and model/loss.py. Agrees with
it numerically. All maps live in the cube: x and y in [-1, 1] over the input, z in [-1, 1] over +-reach.

Keys of its checkpoints. ResNets: `pre.0` is `backbone.conv1`, `pre.1` `backbone.bn1`, `layer*` `backbone.layer*`,
`deconv_layers` `upsampling`; `final1` and `final2` are one convolution, `head`. Hourglasses: hourglass.py; `outs_1.i`
and `outs_2.i` are one convolution, `backbone.outputs.i` of earlier stacks and `head` of the last. The `skip_layer` of
a residual block that does not change its width is never used there and does not exist here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...datasets.options import option
from ...datasets.reading.weights import unwrapped
from ...datasets.sample import Labeled, Unlabeled
from ..heatmaps import upsampling
from ..output import Grid, Poses, Votes
from ..parts.backbones import ABOUT, build_backbone
from ..parts.hourglass import Hourglasses, hourglass_state
from ..parts.torchvision_backbone import TorchvisionBackbone
from ..pose_model import DepthModel, reach_of

BACKBONES = ("resnet18", "resnet50", "resnet101", "resnet152")
FORMS = {"offset": 4, "heatmap": 1, "pose": 3, "regress": 3}
"""What a head answers, and with how many channels for each joint."""
LOSSES = {"dense": ("dense",), "joint": ("joint",), "dense_then_joint": ("dense", "joint")}
SHARPNESS = 30.0
"""Weights are softmax(30 * closeness)."""
SURFACE = 0.99
"""A normalised depth below it is a surface, above it nothing."""
TAU = 0.01
"""Where the losses change from square to linear."""


class AWR(DepthModel):
    """Votes of one candidate for each pixel of the features, for (x, y, z).

    `form` is what the head answers, after the paper's ablation: `offset` (AWR: unit vector and closeness of each
    joint); `heatmap` (closeness alone: surface points vote for themselves); `pose` (every surface pixel answers with
    the joints' coordinates, all weigh the same); `regress` (global pooling and a linear layer, one candidate).
    `Votes.extra["raws"]` holds the maps that votes were read from, (B, C, H/s, W/s) each, of earlier stacks first; of
    `regress` (B, 3K). Raises ValueError for options that contradict each other and sizes that do not divide.
    """

    @dataclass(frozen=True)
    class Options(DepthModel.Options):
        backbone: str = option(
            "resnet18", f"{', '.join(BACKBONES)} with a stem for depth images, hourglass_N, or {ABOUT}"
        )
        input_size: list[int] = option([128, 128], "width, height", low=1, high=8192, size=2)
        channels: int = option(256, "channels of the layers before the head", low=1)
        downsample: int = option(2, "pixels of the input in a cell of the maps", low=1)
        form: str = option("offset", "what the head answers: the paper's ablation", choices=tuple(FORMS))
        kernel: float | None = option(
            None,
            "the distance, in half cubes, at which a pixel stops voting; null: 0.4 of hourglasses, 0.8 else",
            low=1e-3,
            high=1e5,
        )
        losses: str = option(
            "dense_then_joint",
            "of the maps, of the decoded points, or of the maps alone for `dense_steps` updates and both after them",
            choices=tuple(LOSSES),
        )
        dense_steps: int = option(0, "updates before the joint loss takes over", low=0)
        dense_weight: float = option(1.0, "of the maps' loss", low=0)
        joint_weight: float = option(1.0, "of the points' loss", low=0)
        every_stack: bool = option(True, "false: the last hourglass alone is supervised, as the released script does")

    fixed = MappingProxyType({"raws": ""})
    options: Options
    updates: Tensor

    def __init__(self, keypoints: int, options: Options) -> None:
        super().__init__(keypoints, options)
        _check(options)
        hourglass = options.backbone.startswith("hourglass")
        self.kernel = options.kernel if options.kernel is not None else 0.4 if hourglass else 0.8
        self.channels, self.form = options.channels, options.form
        self.active = ("joint",) if options.form == "regress" else LOSSES[options.losses]
        self.dense_steps, self.every_stack = options.dense_steps, options.every_stack
        self.dense_weight, self.joint_weight = options.dense_weight, options.joint_weight
        self.plain_start = hourglass
        self.backbone = self._backbone(options.backbone)
        inputs = self.backbone.channels
        downsample = options.downsample
        doublings = _doublings(self.input_size, self.backbone, downsample) * (options.form != "regress")
        self.upsampling = upsampling(inputs, options.channels, doublings)
        self.channels = options.channels if doublings else inputs
        columns, rows = (side // downsample for side in self.input_size)
        middle = downsample / 2
        self.grid = Grid((rows, columns), (downsample, downsample), (middle, middle), self.depth_axis(columns))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.head = self.new_head()

    def _backbone(self, name: str) -> Any:
        if name in BACKBONES:
            return DepthResNet(name)
        if re.fullmatch(r"hourglass_[1-9]\d*", name) and self.form != "regress":
            outputs = FORMS[self.form] * self.keypoints
            return Hourglasses(self.channels, [nn.Conv2d(self.channels, outputs, 1) for _ in range(1, int(name[10:]))])
        if name.startswith("hourglass"):
            raise ValueError(
                f"model.backbone={name!r} is not known to AWR's form {self.form!r}; choose another backbone"
            )
        return build_backbone(name, self.options.weights, self.input_size)

    def new_head(self, layers: int | None = None) -> nn.Module:
        """Hidden 3x3 convolutions with batch norm, then a 1x1 one (of `regress`: pooling and a linear layer)."""
        width, outputs = self.channels, FORMS[self.form] * self.keypoints
        parts: list[nn.Module] = []
        for _ in range((layers or self.options.head_layers) - 1):
            parts += [nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        if self.form == "regress":
            parts += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, outputs)]
        else:
            parts.append(nn.Conv2d(width, outputs, 1))
        for part in () if self.plain_start else parts:
            if isinstance(part, nn.Conv2d | nn.Linear):
                nn.init.normal_(part.weight, std=0.001)
                nn.init.zeros_(part.bias)  # type: ignore[arg-type]
        return nn.Sequential(*parts) if len(parts) > 1 else parts[0]

    def features(self, sample: Unlabeled) -> Tensor:
        image = sample.image
        self.check_size(image)
        return self.encode(normalized(sample))

    def encode(self, image: Tensor) -> Tensor:
        """Features of a normalised image (B, 1, H, W): (B, C, H/s, W/s), of hourglasses all stacks' (B, N * C, ...)."""
        if not isinstance(self.backbone, DepthResNet | Hourglasses):
            image = image.expand(-1, 3, -1, -1)
        return self.upsampling(self.backbone(image))

    def votes(self, features: Tensor, sample: Unlabeled, head: nn.Module | None = None) -> Votes:
        """The last stack's votes; of the main head with the earlier stacks' maps beside, where they are supervised."""
        raw = (self.head if head is None else head)(features[:, -self.channels :])
        backbone = self.backbone
        earlier: tuple[Tensor, ...] = ()
        if head is None and self.every_stack and isinstance(backbone, Hourglasses):
            earlier = backbone.answers(features)
        return self.read((*earlier, raw), sample)

    def read(self, raws: tuple[Tensor, ...], sample: Unlabeled) -> Votes:
        """The votes that the last of `raws` stands for."""
        raw = raws[-1].float()
        if self.form == "regress":
            points = raw.view(-1, 1, self.keypoints, 3)
            logits = torch.zeros_like(points[..., 0])
        else:
            pixels, surface = surface_points(normalized(sample), self.grid.shape)
            fields = raw.flatten(2).transpose(1, 2)
            logits, points = self.candidates(fields, pixels, surface)
        scale, middle = self.cube(sample)
        where = points * scale[:, None, None] + middle[:, None, None]
        return Votes(self.grid, logits, where, {"raws": raws})

    def candidates(self, fields: Tensor, pixels: Tensor, surface: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, N, K) and points (B, N, K or 1, 3) in the cube, from fields (B, N, C) at pixels (B, N, 1, 3) that
        are a `surface` (B, N, 1) or not."""
        if self.form == "pose":
            logits = torch.where(surface, 0.0, -1e4).expand(-1, -1, self.keypoints)
            return logits, fields.unflatten(-1, (-1, 3))
        fields = fields * surface
        if self.form == "heatmap":
            return SHARPNESS * fields, pixels
        toward, closeness = fields.split([3 * self.keypoints, self.keypoints], -1)
        distance = self.kernel - self.kernel * closeness
        return SHARPNESS * closeness, toward.unflatten(-1, (-1, 3)) * distance.unsqueeze(-1) + pixels

    def cube(self, sample: Unlabeled) -> tuple[Tensor, Tensor]:
        """Half the cube's edges and its middle, (B, 3) each, in px, px and mm of the input."""
        reach = reach_of(sample).flatten()
        x, y = (torch.full_like(reach, side / 2) for side in self.input_size)
        return torch.stack([x, y, reach], -1), torch.stack([x, y, torch.zeros_like(reach)], -1)

    def decode(self, votes: Votes, sample: Unlabeled) -> Poses:
        return Poses.of_crops(votes.mean(), votes.confidence())

    def counted(self, sample: Labeled) -> Tensor:
        inside = self.grid.marginals()[0].contains(sample.keypoints[..., :2])
        reach = reach_of(sample).view(-1, 1)[sample.image_index]
        return sample.annotated & inside & (sample.keypoints[..., 2].abs() <= reach)

    def loss(self, votes: Votes, sample: Labeled) -> dict[str, Tensor]:
        """Losses of the maps and of the decoded points, added over the stacks: each stack is trained as if it were the
        only one, and the weight of maps against points does not depend on their number."""
        people = sample.image_index
        scale, middle = (part[people, None] for part in self.cube(sample))
        image, joints = normalized(sample)[people], (sample.keypoints - middle) / scale
        raws = votes.extra["raws"]
        stacks = [*(self.read(raws[:n], sample) for n in range(1, len(raws))), votes]
        losses = {}
        if "dense" in self.active:
            target = self.target(joints, image)
            parts = [self.dense_loss(v.extra["raws"][-1].float()[people], target, sample.annotated) for v in stacks]
            losses["dense"] = self.dense_weight * torch.stack(parts).sum()
        if "joint" in self.active:
            points = [(v.mean()[people] - middle) / scale for v in stacks]
            total = torch.stack([joint_loss(p, joints, sample.annotated) for p in points]).sum()
            losses["joint"] = self.joint_weight * torch.where(self.updates < self.dense_steps, 0.0, total)
        if self.training:
            self.updates += 1
        return losses

    def target(self, joints: Tensor, image: Tensor) -> Tensor:
        """The maps (P, C, H/s, W/s) that the head should answer with, for normalised joints (P, K, 3)."""
        if self.form == "pose":
            _, surface = surface_points(image, self.grid.shape)
            return (joints.flatten(1)[:, None] * surface).transpose(1, 2).unflatten(2, self.grid.shape)
        maps = dense_target(joints, image, self.kernel, self.grid.shape)
        return maps[:, 3 * self.keypoints :] if self.form == "heatmap" else maps

    def dense_loss(self, raw: Tensor, target: Tensor, known: Tensor) -> Tensor:
        """Mean over the maps of joints that are `known` (P, K), background included."""
        channels = F.huber_loss(raw, target, reduction="none", delta=TAU).mean((2, 3))
        counted = known.repeat_interleave(3, 1) if self.form != "heatmap" else known
        counted = torch.cat([counted, known], 1) if self.form == "offset" else counted
        return (channels * counted).sum() / counted.sum().clamp_min(1)


def joint_loss(points: Tensor, joints: Tensor, known: Tensor) -> Tensor:
    """Mean over the normalised joints (P, K, 3) that are `known` (P, K); 0 where none is."""
    errors = F.huber_loss(points, joints, reduction="none", delta=TAU).mean(-1)
    return (errors * known).sum() / known.sum().clamp_min(1)


def normalized(sample: Unlabeled) -> Tensor:
    """The depth image (B, 1, H, W) in half cubes: [-1, 1], 1 where nothing is."""
    return (sample.image / reach_of(sample)).clamp(-1, 1)


def surface_points(image: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """A normalised image (B, 1, H, W) as points in the cube, (B, N, 1, 3), one for each cell of `size` (rows, columns),
    row by row, and whether there is a surface, bool (B, N, 1)."""
    depth = F.interpolate(image.float(), size=list(size), mode="nearest")
    y, x = (2 * (torch.arange(n, device=image.device) + 0.5) / n - 1 for n in size)
    points = [x.view(1, 1, 1, -1).expand_as(depth), y.view(1, 1, -1, 1).expand_as(depth), depth]
    return torch.cat(points, 1).flatten(2).transpose(1, 2).unsqueeze(2), (depth < SURFACE).flatten(2).transpose(1, 2)


def dense_target(joints: Tensor, image: Tensor, kernel: float, size: Sequence[int]) -> Tensor:
    """Unit vectors toward normalised joints (P, K, 3) and closeness to them, 1 there and 0 at `kernel` and beyond:
    maps (P, 3K + K, rows, columns), 0 where the image (P, 1, H, W) has no surface. The reference's joint2offset."""
    points, surface = surface_points(image, size)
    away = joints.unsqueeze(1) - points
    distance = torch.sqrt(away.square().sum(-1) + 1e-8)
    closeness = (kernel - distance) / kernel
    near = (closeness >= 0) & surface
    toward = away / distance.unsqueeze(-1) * near.unsqueeze(-1)
    return torch.cat([toward.flatten(2), closeness * near], -1).transpose(1, 2).unflatten(2, tuple(size))


class DepthResNet(TorchvisionBackbone):
    """A ResNet that takes depth at full resolution: 5x5 stem of stride 1, (B, 1, H, W) to (B, C, H/16, W/16)."""

    stride = 16

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.stride = DepthResNet.stride  # not that of the stem which is replaced
        self.conv1 = nn.Conv2d(1, 64, 5, padding=2, bias=False)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")


def _check(options: AWR.Options) -> None:
    form, losses, dense_steps = options.form, options.losses, options.dense_steps
    if options.weights is not None and (options.backbone in BACKBONES or options.backbone.startswith("hourglass")):
        raise ValueError(
            f"model.weights={options.weights!r}: AWR's {options.backbone} starts from random weights; use null"
        )
    if form == "regress" and losses == "dense":
        raise ValueError("model.form='regress' has no maps to learn from with model.losses='dense'; choose 'joint'")
    if dense_steps and (form == "regress" or losses != "dense_then_joint"):
        raise ValueError(
            f"model.dense_steps={dense_steps} is for losses='dense_then_joint' of a form with maps; set it to 0 with "
            f"form={form!r} and losses={losses!r}"
        )


def _doublings(input_size: tuple[int, int], backbone: nn.Module, downsample: int) -> int:
    """How often the backbone's maps are doubled to come to `downsample`."""
    hourglass = isinstance(backbone, Hourglasses)
    stride = int(backbone.stride)  # type: ignore[arg-type]
    deepest = stride * 2**Hourglasses.depth if hourglass else stride
    if any(side % deepest or side <= 0 for side in input_size):
        raise ValueError(f"model.input_size {input_size[0]}x{input_size[1]} must be a multiple of {deepest}")
    options = [stride] if hourglass else [2**i for i in range(int(math.log2(stride)) + 1)]
    if downsample not in options:
        raise ValueError(f"model.downsample={downsample} cannot be reached; choose one of {options}")
    return int(math.log2(stride // downsample))


def load_reference(state: Mapping[str, Any], input_size: Sequence[int] = (128, 128), **options: Any) -> AWR:
    """An AWR from a released checkpoint; the network, its joints and its resolution are read off the keys and shapes.

    `options` are AWR's own. The result is in evaluation mode. Raises ValueError, naming keys, when the state is not
    one of a ResNet's or an hourglass's.
    """
    state = unwrapped(state, "pre.0.weight", "pre.0.conv.weight")
    resnet = "final1.weight" in state and "pre.0.weight" in state and "final2.weight" in state
    if not resnet and not {"outs_1.0.weight", "outs_2.0.weight", "pre.0.conv.weight"} <= set(state):
        raise ValueError(
            f"not an AWR checkpoint: found {len(state)} entries such as {sorted(state)[:3]}; expected pre.0.weight, "
            "final1.weight and final2.weight (ResNet) or pre.0.conv.weight, outs_1.0.weight and outs_2.0.weight"
        )
    keypoints, architecture = _resnet_of(state) if resnet else _hourglass_of(state)
    model = AWR(keypoints, AWR.Options(**({"input_size": list(input_size)} | architecture | options)))
    try:
        ours = _resnet_state(state) if resnet else hourglass_state(state, model.backbone)
        model.load_state_dict(ours | {"updates": model.updates})
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"not an AWR checkpoint of {model.options.backbone}: {error}") from error
    return model.eval()


def _resnet_of(state: Mapping[str, Tensor]) -> tuple[int, dict[str, Any]]:
    """The number of keypoints, and the options that the checkpoint tells."""
    blocks = tuple(len({k.split(".")[1] for k in state if k.startswith(f"layer{i}.")}) for i in range(1, 5))
    wide = "layer1.0.conv3.weight" in state
    names = {(2, 2, 2, 2): "resnet18", (3, 4, 6, 3): "resnet50", (3, 4, 23, 3): "resnet101", (3, 8, 36, 3): "resnet152"}
    if blocks not in names or wide != (blocks != (2, 2, 2, 2)):
        raise ValueError(f"not an AWR checkpoint: layer1 to 4 have {blocks} blocks; expected one of {sorted(names)}")
    final = state["final2.weight"]
    doublings = sum(key.startswith("deconv_layers.") and value.dim() == 4 for key, value in state.items())
    options = {"channels": final.shape[1], "downsample": DepthResNet.stride >> doublings}
    return final.shape[0], {"backbone": names[blocks]} | options


def _hourglass_of(state: Mapping[str, Tensor]) -> tuple[int, dict[str, Any]]:
    stacks = sum(re.fullmatch(r"outs_2\.\d+\.weight", key) is not None for key in state)
    final = state["outs_2.0.weight"]
    return final.shape[0], {"backbone": f"hourglass_{stacks}", "channels": final.shape[1]}


def _resnet_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    ours = {}
    for key, value in state.items():
        part, _, rest = key.partition(".")
        if part == "pre":
            ours[f"backbone.{'conv1' if rest[0] == '0' else 'bn1'}{rest[1:]}"] = value
        elif part == "final1":
            ours[f"head.{rest}"] = torch.cat([value, state[f"final2.{rest}"]])
        elif part != "final2":
            ours[f"upsampling.{rest}" if part == "deconv_layers" else f"backbone.{key}"] = value
    return ours
