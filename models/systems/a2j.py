"""A2J: anchors spread over a depth image vote for each joint's place and depth.

Xiong et al., "A2J: Anchor-to-Joint Regression Network for 3D Articulated Pose Estimation from a Single Depth Image",
ICCV 2019; zhangboshen/A2J @ 4c332f0, src_train/model.py and src_train/anchor.py. Agrees with it numerically. Its
tensors are (row, column, depth) and its anchors run column by column; here they are (x, y, z) and run row by row over
the lattice that they form, one anchor every 4 pixels. Keys of its checkpoints: `Backbone.model.*` is `backbone.early.*`
(conv1 to layer3) and `backbone.late.*` (layer4), `classificationModel` is `head.response`, `regressionModel` is
`head.offset`, `DepthRegressionModel` is `head.depth`; conv1..n and bn1..n are numbered through from 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...datasets.options import option
from ...datasets.reading.weights import unwrapped
from ...datasets.sample import Labeled, Unlabeled
from ..output import Grid, Poses, Votes
from ..parts.backbones import ABOUT, build_levels
from ..pose_model import DepthModel, reach_of

SPACING = 4
"""Pixels between neighbouring anchors."""

REFERENCE: dict[str, dict[str, Any]] = {
    "nyu": {"mean": -0.66877532422628, "std": 28.329582076876047, "spatial": 0.5, "regression": 3.0},
    "icvl": {"mean": 4.827061368455762, "std": 16.29524411165314, "spatial": 0.5, "regression": 3.0},
    "hands2017": {"mean": -6.392391573671643, "std": 25.006860723599576, "spatial": 0.5, "regression": 3.0},
    "itop": {"spatial": 1.0, "regression": 3.0},
    "k2hpd": {"mean": 88.00896856, "std": 67.12190293},
}
"""Options of the reference by dataset, for `A2J.Options(**REFERENCE[name])` and `load_reference(state, **...)`.
Its ITOP networks read and answer absolute depth (metres in, 50 a metre out; regression is 3 in the published log, 5 in
the script); one trained here reads mm from the centre, as all others do. K2HPD's are 2D (`depth=False`)."""


class A2J(DepthModel):
    """Votes of one anchor every 4 pixels, for (x, y, z), or for (x, y) with `depth=False`.

    The image is normalised as (mm - mean) / std, pixels out of the cube counting as the centre. Raises ValueError for
    sizes that do not divide.
    """

    @dataclass(frozen=True)
    class Options(DepthModel.Options):
        backbone: str = option("resnet50", f"the network below the heads, its last two levels: {ABOUT}")
        input_size: list[int] = option([176, 176], "width, height", low=1, high=8192, size=2)
        channels: int = option(256, "channels of the heads' layers", low=1)
        head_layers: int = option(4, "hidden layers of each head", low=1)
        depth: bool = option(True, "false: vote for (x, y) alone")
        spatial: float = option(0.5, "the paper's alpha, the weight of x and y; 1 for ITOP", low=0)
        regression: float = option(3.0, "the paper's lambda, the weight of the joints' places", low=0)
        smooth_depth: bool = option(True, "false: the released code's plain L1 on depth, not the paper's smooth L1")
        mean: float = option(-0.66877532422628, "mm; the reference's, of NYU's crops")
        std: float = option(28.329582076876047, "mm; the same", low=1e-3, high=1e5)

    options: Options

    def __init__(self, keypoints: int, options: Options) -> None:
        super().__init__(keypoints, options)
        self.channels, self.depth = options.channels, options.depth
        self.spatial, self.regression, self.smooth_depth = options.spatial, options.regression, options.smooth_depth
        self.mean, self.std = options.mean, options.std
        self.backbone = build_levels(options.backbone, options.weights, self.input_size)
        if any(side % self.backbone.stride or side < 2 * self.backbone.stride for side in self.input_size):
            raise ValueError(
                f"model.input_size {self.input_size[0]}x{self.input_size[1]} must be a multiple of the backbone's "
                f"stride {self.backbone.stride}, at least two of it"
            )
        columns, rows = (side // SPACING for side in self.input_size)
        axis = self.depth_axis(columns) if options.depth else None
        middle = SPACING / 2
        self.grid = Grid((rows, columns), (SPACING, SPACING), (middle, middle), axis)
        self.head = self.new_head()

    def new_head(self, layers: int | None = None) -> nn.Module:
        per_side = self.backbone.stride // SPACING
        return AnchorHead(
            self.backbone.channels,
            self.channels,
            layers or self.options.head_layers,
            self.keypoints,
            per_side,
            self.depth,
        )

    def features(self, sample: Unlabeled) -> Tensor:
        image = sample.image
        self.check_size(image)
        return self.encode((torch.where(image < reach_of(sample), image, 0.0) - self.mean) / self.std)

    def encode(self, image: Tensor) -> Tensor:
        """Features of a normalised image (B, 1, H, W): both levels, (B, C3 + C4, H/stride, W/stride)."""
        return self.backbone(image.expand(-1, 3, -1, -1))

    def votes(self, features: Tensor, sample: Unlabeled, head: nn.Module | None = None) -> Votes:
        response, offset, depth = (self.head if head is None else head)(features)
        where = self.anchors(offset).view(1, -1, 1, 2) + offset.float()
        if depth is not None:
            where = torch.cat([where, depth.float().unsqueeze(-1)], -1)
        return Votes(self.grid, response, where)

    def anchors(self, like: Tensor) -> Tensor:
        """(N, 2) x, y px of the lattice, row by row, on the device of `like`."""
        x, y = (self.grid.axis(dim, like.detach().float()) for dim in (0, 1))
        return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).flatten(0, 1)

    def decode(self, votes: Votes, sample: Unlabeled) -> Poses:
        return Poses.of_crops(votes.mean(), votes.confidence())

    def counted(self, sample: Labeled) -> Tensor:
        return sample.annotated & self.grid.contains(sample.keypoints[..., : 3 if self.depth else 2])

    def loss(self, votes: Votes, sample: Labeled) -> dict[str, Tensor]:
        """Paper, equations 2 to 5: the anchors that respond surround the joint, and their votes meet on it."""
        known, truth = sample.annotated, sample.keypoints
        surrounding = Votes(votes.grid.marginals()[0], votes.logits).mean()[sample.image_index]
        points = votes.mean()[sample.image_index]
        loss = self.spatial * _mean(smooth_l1(points[..., :2] - truth[..., :2], 1.0), known)
        if self.depth:
            error = points[..., 2:] - truth[..., 2:]
            loss = loss + _mean(smooth_l1(error, 3.0) if self.smooth_depth else error.abs(), known)
        anchors = _mean(smooth_l1(surrounding - truth[..., :2], 1.0), known)
        return {"surrounding": anchors, "regression": self.regression * loss}


def smooth_l1(error: Tensor, tau: float) -> Tensor:
    """error^2 / (2 tau) up to tau, |error| - tau / 2 beyond."""
    size = error.abs()
    return torch.where(size <= tau, size.square() / (2 * tau), size - tau / 2)


def _mean(values: Tensor, known: Tensor) -> Tensor:
    """Mean of (P, K, D) over the joints of the mask (P, K); 0 where it is empty."""
    return (values.mean(-1) * known).sum() / known.sum().clamp_min(1)


class AnchorHead(nn.Module):
    """Features of two levels to response (B, N, K), offset (B, N, K, 2) px, x first, and depth (B, N, K) mm or None,
    anchors row by row."""

    def __init__(self, inputs: tuple[int, int], width: int, layers: int, keypoints: int, per_side: int, depth: bool):
        super().__init__()
        self.inputs, self.keypoints, self.per_side = inputs, keypoints, per_side
        anchors = per_side**2
        self.response = _branch(inputs[0], width, layers, anchors * keypoints)
        self.offset = _branch(inputs[1], width, layers, anchors * keypoints * 2)
        self.depth = _branch(inputs[1], width, layers, anchors * keypoints) if depth else None

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        early, late = features.split(self.inputs, 1)
        response, offset = self.lattice(self.response(early)), self.lattice(self.offset(late))
        depth = None if self.depth is None else self.lattice(self.depth(late)).squeeze(-1)
        return response.squeeze(-1), offset.flip(-1), depth

    def lattice(self, maps: Tensor) -> Tensor:
        """(B, A * K * C, h, w), anchor slowest and its row before its column, to (B, N, K, C), row by row."""
        batch, channels, rows, columns = maps.shape
        side, keypoints = self.per_side, self.keypoints
        parts = maps.view(batch, side, side, keypoints, channels // (side**2 * keypoints), rows, columns)
        return parts.permute(0, 5, 1, 6, 2, 3, 4).flatten(1, 4)


def _branch(inputs: int, width: int, layers: int, outputs: int) -> nn.Sequential:
    hidden: list[nn.Module] = []
    for layer in range(layers):
        conv = nn.Conv2d(inputs if layer == 0 else width, width, 3, padding=1)
        hidden += [conv, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    branch = nn.Sequential(*hidden, nn.Conv2d(width if layers else inputs, outputs, 3, padding=1))
    for module in branch:
        if isinstance(module, nn.Conv2d):
            nn.init.xavier_normal_(module.weight)
    return branch


BRANCHES = {"classificationModel": "response", "regressionModel": "offset", "DepthRegressionModel": "depth"}


def load_reference(state: Mapping[str, Tensor], input_size: Sequence[int] = (176, 176), **options: Any) -> A2J:
    """An A2J from a released checkpoint; joints, depth or 2D only, and layers are read off its keys and shapes.

    `options` are A2J's own, as in REFERENCE where it is not NYU's. The result is in evaluation mode, with the released
    depth loss. Raises ValueError, naming keys, when the state is not an A2J's.
    """
    state = unwrapped(state, "classificationModel.output.weight")
    if "classificationModel.output.weight" not in state or "Backbone.model.layer4.0.conv3.weight" not in state:
        raise ValueError(
            f"not an A2J checkpoint: found {len(state)} entries such as {sorted(state)[:3]}; expected "
            "Backbone.model.layer4.0.conv3.weight and classificationModel.output.weight"
        )
    output = state["classificationModel.output.weight"]
    chosen: dict[str, Any] = {
        "backbone": _depth_of(state),
        "input_size": list(input_size),
        "channels": output.shape[1],
        "head_layers": sum(key.startswith("classificationModel.conv") for key in state) // 2,
        "depth": "DepthRegressionModel.output.weight" in state,
        "smooth_depth": False,
    }
    model = A2J(output.shape[0] // 16, A2J.Options(**(chosen | options)))
    renamed = {_renamed(key, model.options.head_layers): value for key, value in state.items()}
    try:
        model.load_state_dict({key: value for key, value in renamed.items() if key})
    except RuntimeError as error:
        raise ValueError(f"not an A2J checkpoint of {model.options.backbone}: {error}") from error
    return model.eval()


def _depth_of(state: Mapping[str, Tensor]) -> str:
    blocks = len({key.split(".")[3] for key in state if key.startswith("Backbone.model.layer3.")})
    names = {6: "resnet50", 23: "resnet101", 36: "resnet152"}
    if blocks not in names:
        raise ValueError(f"not an A2J checkpoint: layer3 has {blocks} blocks; expected one of {sorted(names)}")
    return names[blocks]


def _renamed(key: str, layers: int) -> str:
    """Our key for the reference's; empty for what its forward pass never uses."""
    part, _, rest = key.partition(".")
    if part == "Backbone":
        rest = rest.removeprefix("model.")
        if rest.startswith("fc."):
            return ""
        return (
            f"backbone.late.{rest.removeprefix('layer4.')}" if rest.startswith("layer4.") else f"backbone.early.{rest}"
        )
    if part not in BRANCHES:
        return key
    layer, _, leaf = rest.partition(".")
    if layer == "output":
        return f"head.{BRANCHES[part]}.{3 * layers}.{leaf}"
    place = 3 * (int(layer[-1]) - 1) + (1 if layer.startswith("bn") else 0)
    return f"head.{BRANCHES[part]}.{place}.{leaf}"
