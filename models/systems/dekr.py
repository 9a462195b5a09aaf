"""DEKR: where people's centres are, and from there, by a branch of its own for each keypoint, where that is.

Geng et al., "Bottom-Up Human Pose Estimation Via Disentangled Keypoint Regression", CVPR 2021; HRNet/DEKR @ 7a30313,
lib/models/hrnet_dekr.py, core/loss.py, core/inference.py and core/nms.py. Agrees with it numerically.

With m_k the heatmap of keypoint k, m_c that of centres (the mean of a person's keypoints), and o_k(q) the offset that
cell q gives to keypoint k, whose place is q - o_k(q), the losses are
    heatmap    mean of w (m - g)^2,   g the labels' Gaussians, w = 1 where they are drawn, elsewhere `background`, and 0
               where the input `mask` says that people have no labels;
    offset     0.03 sum of h(o - o*) / sqrt(area) over the windows of 8 x 8 cells around centres, by the number of its
               terms; h is the smooth L1 of beta 1/9, and area the square of the diagonal of the box about the person's
               keypoints, px of the input. Of two people in a cell the smaller owns it.
Read are the peaks of m_c, and the offsets there. A keypoint's confidence is m_c at the centre times m_k at its place,
and the mean over keypoints is the person's score. `dekr_decoding` says how people that are the same become one.

With `reference`, for numbers of the published models, what differs is the following.
- Cell j of a map stands at pixel 4 j; here in the middle of its pixels. With `flip_test` mirror images are moved by the
  three pixels that this costs, here by none.
- Heatmaps and offsets are of keypoints from pixel 0 to behind the last cell; here from half a cell before the first.
- Keypoints from number 17 on are drawn as wide as centres, and centres of fewer keypoints as keypoints.
- The area is x^2 + y^2 of the person's rightmost and lowest place in the file: the farther from its upper left corner,
  the less a person counts. Here one who is narrower than the window counts as if as wide.
- In some cells the larger of two people owns it: see `dekr_labels.owners_by_turns`.
Against both, losses are `loss_weight` times as large, and people of whom no keypoint is labelled have no centre (there
one in the upper left corner).

On other backbones than an HRNet, `small` on CPUs, transposed convolutions bring features to a quarter of the input. At
128 px `backbone=small head_layers=1 keypoint_channels=5 sigma=1 center_sigma=1 radius=1` learns fast on a CPU.

Keys of its checkpoints: the body is `backbone`, all else stands under `head`; layers of the K keypoints' branches,
`offset_feature_layers.k` and `offset_final_layer.k`, are groups of one layer here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.resnet import BasicBlock

from ...datasets.constants import constants
from ...datasets.options import option
from ...datasets.sample import MASK, Labeled, Unlabeled, invert, known_ends, transform
from ...datasets.skeleton import Skeleton
from ..heatmaps import LOSS_WEIGHT, SCALES, SHARPNESS, further, small, upsampling
from ..output import Grid, Poses, Votes
from ..parts.adaptive import AdaptBlock
from ..parts.backbones import ABOUT, build_backbone
from ..parts.hrnet import BRANCHES, HRNETS, HRNet
from ..parts.tag_losses import mask_of
from ..pose_model import PoseModel, normalize
from ..released import loaded, read_released
from ..rescoring import Rescoring, links_of
from . import dekr_labels
from .dekr_decoding import Reading, people_in

STRIDE = 4
"""Pixels of a cell."""
BETA = 1 / 9
"""Below which the loss of offsets is a square, cells."""
WIDE_FROM = 17
"""The reference's number of the centre."""


class DEKR(PoseModel):
    """Its features are those of the backbone at a quarter of the input, (B, C, H/4, W/4). Raises ValueError for inputs
    that the backbone does not divide."""

    @dataclass(frozen=True)
    class Options(Reading, PoseModel.Options):
        input_size: list[int] = option([512, 512], "width, height", low=4, high=8192, size=2)
        backbone: str = option("hrnet_w32", f"the network below the head: {ABOUT}")
        head_layers: int = option(2, "adaptive blocks of each keypoint; the heatmaps have one block less", low=1)
        channels: int = option(32, "of the heatmaps' block, and of layers that enlarge a backbone's maps", low=1)
        keypoint_channels: int = option(15, "of each keypoint's branch", low=1)
        sigma: float = option(2.0, "of the Gaussians at keypoints, cells", low=0.5, high=100)
        center_sigma: float = option(4.0, "of those at centres, cells", low=0.5, high=100)
        background: float = option(0.1, "weight of cells without a Gaussian in the heatmaps' loss", low=0)
        radius: int = option(4, "of the window around a centre in which offsets learn, cells", low=1, high=100)
        smallest: float = option(
            0.0,
            "area, px of the file squared, below which a person has no centre and no offsets; the published models of "
            "COCO: 1024, of CrowdPose: 0",
            low=0,
        )
        loss_weight: float = option(1000.0, LOSS_WEIGHT, low=0)
        offset_weight: float = option(0.03, "of the offsets' loss", low=0)
        scales: list[float] = option([1.0], SCALES, low=0.05)
        rescored: bool = option(False, "people's scores are multiplied by a network's that `keyshift rescore` trains")
        reference: bool = option(
            False, "the published code in all but loss_weight: see the head of models/systems/dekr.py"
        )

    single = False
    options: Options

    def __init__(self, keypoints: int, options: Options) -> None:
        super().__init__(keypoints, options)
        if options.backbone in HRNETS:
            self.backbone: Any = HRNet(options.backbone, options.weights, levels=BRANCHES)
            self.upsampling, width = nn.Sequential(), HRNETS[options.backbone].width * (2**BRANCHES - 1)
        else:
            self.backbone = build_backbone(options.backbone, options.weights, self.input_size)
            doublings = max(int(math.log2(self.backbone.stride / STRIDE)), 0)
            self.upsampling = upsampling(self.backbone.channels, options.channels, doublings)
            width = options.channels if doublings else self.backbone.channels
        self.width, (columns, rows), step = width, self.input_size, self.backbone.stride
        if step < STRIDE or columns % step or rows % step:
            raise ValueError(
                f"model.input_size {columns}x{rows} must be a multiple of the backbone's stride, {step}, and that of "
                f"{STRIDE} or more"
            )
        self.further = further(options.scales)
        first = 0.5 if options.reference else STRIDE / 2
        self.grid = Grid((rows // STRIDE, columns // STRIDE), (float(STRIDE),) * 2, (first,) * 2)
        self.head = self.new_head()
        self.rescoring: Rescoring | None = None

    def new_head(self, layers: int | None = None) -> nn.Module:
        options = self.options
        sizes = options.channels, options.keypoint_channels, layers or options.head_layers
        return Head(self.width, self.keypoints, *sizes)

    def features(self, sample: Unlabeled) -> Tensor:
        image = normalize(sample.image)
        self.check_size(image)
        return self.upsampling(self.backbone(image))

    def votes(self, features: Tensor, sample: Unlabeled, head: nn.Module | None = None) -> Votes:
        """`extra` holds `center` (B, H, W), and `offsets` (B, K, 2, H, W) in cells."""
        maps, offsets = (self.head if head is None else head)(features)
        heat, center = maps.float().tensor_split([self.keypoints], 1)
        extra = {"center": center[:, 0], "offsets": offsets.float().unflatten(1, (self.keypoints, 2))}
        return Votes.from_maps(self.grid, SHARPNESS * heat, **extra)

    def forward(self, sample: Unlabeled) -> Votes:
        """In evaluation `extra` holds `more` too, the votes at the further scales."""
        votes = super().forward(sample)
        if self.training or not self.further:
            return votes
        image = normalize(sample.image)
        more = tuple(self.seen(self.scaled(image, scale), sample) for scale in self.further)
        return replace(votes, extra={**votes.extra, "more": more})

    def scaled(self, image: Tensor, scale: float) -> Tensor:
        """Pictures (B, 3, H, W) at another scale, their sides multiples of the backbone's stride."""
        step = self.backbone.stride
        size = [max(1, round(side * scale / step)) * step for side in image.shape[-2:]]
        return functional.interpolate(image, size, mode="bilinear", antialias=scale < 1)

    def seen(self, image: Tensor, sample: Unlabeled) -> Votes:
        """The votes for a sample whose pictures (B, 3, h, w) are normalised and of another size."""
        votes = self.votes(self.upsampling(self.backbone(image)), sample)
        (width, height), (rows, columns) = self.input_size, votes.extra["center"].shape[-2:]
        stride = width / columns, height / rows
        origin = self.grid.origin[0] * stride[0] / STRIDE, self.grid.origin[1] * stride[1] / STRIDE
        return replace(votes, grid=Grid((rows, columns), stride, origin))

    def with_mirrored(self, votes: Votes, sample: Unlabeled, flip: Sequence[int]) -> Votes:
        image = normalize(sample.image)
        pairs = zip(votes.extra.get("more", ()), self.further, strict=False)
        more = tuple(self.averaged(one, self.scaled(image, scale), sample, list(flip)) for one, scale in pairs)
        merged = self.averaged(votes, image, sample, list(flip))
        return replace(merged, extra={**merged.extra, "more": more})

    def averaged(self, votes: Votes, image: Tensor, sample: Unlabeled, flip: list[int]) -> Votes:
        """The means of votes for pictures (B, 3, h, w), normalised, and for their mirror images, in which keypoints
        change places by the permutation `flip`. These are moved to the left by as many pixels as bring cells to where
        cells were; what is then missing at the right stays as it was."""
        columns = votes.grid.shape[1]
        behind = round(image.shape[-1] - 2 * self.grid.origin[0] - STRIDE * (columns - 1))
        turned = image.flip(-1)
        turned = torch.cat([turned[..., behind:], turned[..., turned.shape[-1] - behind :]], -1)
        there = self.seen(turned, sample)
        order = constants(flip, votes.logits, torch.int64)
        offsets = there.extra["offsets"].flip(-1)[:, order] * constants([-1.0, 1.0], votes.logits)[:, None, None]
        maps = (votes.maps + there.maps.flip(-1)[:, order]) / 2
        center = (votes.extra["center"] + there.extra["center"].flip(-1)) / 2
        extra = {"center": center, "offsets": (votes.extra["offsets"] + offsets) / 2}
        return Votes.from_maps(votes.grid, maps, **extra)

    def know(self, skeleton: Skeleton) -> Self:
        """Its links are what poses are judged by."""
        if self.options.rescored and (self.rescoring is None or self.rescoring.links != links_of(skeleton)[0]):
            self.rescoring = Rescoring(skeleton)
        return self

    def judged_by(self, judge: Rescoring | None) -> Self:
        """This network, with what judges its poses."""
        self.rescoring, self.options = judge, replace(self.options, rescored=judge is not None)
        return self

    def plain(self) -> PoseModel:
        """Raises ValueError where it looks at several scales or moves keypoints to peaks, which exporters cannot write:
        Gaussians are fitted until they fit."""
        for name, wanted in (("scales", [1.0]), ("snap", 0.0)):
            if getattr(self.options, name) != wanted:
                raise ValueError(f"model.{name}: DEKR is exported with {name}={wanted}; train or ship it so")
        return super().plain()

    def decode(self, votes: Votes, sample: Unlabeled) -> Poses:
        views = [votes, *votes.extra.get("more", ())]
        return people_in(views, self.options, self.options.sigma, self.rescoring)

    def on_map(self, cells: Tensor) -> Tensor:
        """Which points (..., 2) in cells are on the map: bool (...)."""
        low = 0.0 if self.options.reference else -0.5
        return ((cells >= low) & (cells < constants(self.grid.shape[::-1], cells) + low)).all(-1)

    def counted(self, sample: Labeled) -> Tensor:
        return sample.annotated & self.on_map(self.grid.to_cells(sample.keypoints))

    def loss(self, votes: Votes, sample: Labeled) -> dict[str, Tensor]:
        labels = self.labels(sample)
        maps = torch.cat([votes.maps / SHARPNESS, votes.extra["center"][:, None]], 1)
        heatmap = (labels.weight * (maps - labels.heat).square()).mean()
        away = functional.smooth_l1_loss(votes.extra["offsets"], labels.offsets, reduction="none", beta=BETA)
        known = 2 * (labels.near > 0).sum()
        offset = (away * labels.near[:, :, None]).sum() / known.clamp_min(1)
        losses = {"heatmap": heatmap, "offset": self.options.offset_weight * offset}
        return {name: self.options.loss_weight * loss for name, loss in losses.items()}

    def labels(self, sample: Labeled) -> Labels:
        """What a batch's people ask of the maps."""
        grid, options, images = self.grid, self.options, len(sample)
        cells, counted, area = grid.to_cells(sample.keypoints), self.counted(sample), self.areas(sample)
        known = sample.annotated[..., None]
        center = (cells * known).sum(1) / known.sum(1).clamp_min(1)
        has_center = sample.annotated.any(1)
        if sample.area is not None:
            has_center &= sample.area >= options.smallest
        points = torch.cat([cells, center[:, None]], 1)
        drawn = torch.cat([counted, (has_center & self.on_map(center))[:, None]], 1)
        place = sample.image_index, images, grid.shape
        heat, covered = dekr_labels.heatmaps(points, drawn, self.sigmas(), *place)
        weight = torch.where(covered, 1.0, options.background)
        if (mask := mask_of(sample.inputs.get(MASK), grid.shape)) is not None:
            weight = weight * mask[:, None]
        inside = (center.trunc() >= 0) & (center.trunc() < constants(grid.shape[::-1], center))
        owning = counted & (has_center & inside.all(1))[:, None]
        where = sample.image_index, images, options.radius, grid.shape
        if options.reference:
            owner = dekr_labels.owners_by_turns(cells, center, owning, area, *where)
        else:
            owner = dekr_labels.owners(center, owning, area, *where)
        return Labels(heat, weight, *dekr_labels.offsets(owner, cells, area))

    def sigmas(self) -> list[float]:
        """Of the keypoints and the centre."""
        options, keypoints = self.options, self.keypoints
        wide = WIDE_FROM if options.reference else keypoints
        return [options.sigma if number < wide else options.center_sigma for number in range(keypoints + 1)]

    def areas(self, sample: Labeled) -> Tensor:
        """(P,) px squared of the input: the square of the diagonal of the box about the known keypoints in the file."""
        to_file = sample.to_file[sample.image_index]
        low, high = known_ends(transform(to_file, sample.keypoints), sample.annotated)
        extent = high if self.options.reference else high - low
        shrinking = torch.linalg.det(invert(to_file)[:, :, :2]).abs()
        area = extent.nan_to_num(0, 0, 0).square().sum(-1) * shrinking
        return area.clamp_min(1e-6 if self.options.reference else (2 * self.options.radius * STRIDE) ** 2)


@dataclass(frozen=True)
class Labels:
    """What the maps learn from a batch of B images."""

    heat: Tensor
    """(B, K + 1, H, W), the centres last."""
    weight: Tensor
    """The same shape, of each cell in the heatmaps' loss."""
    offsets: Tensor
    """(B, K, 2, H, W) cells."""
    near: Tensor
    """(B, K, H, W), of each cell in the offsets' loss."""


class Head(nn.Module):
    """Maps (B, C, H, W) to heatmaps (B, K + 1, H, W), the centres last, and offsets (B, 2 K, H, W), x and y of each
    keypoint, cells."""

    def __init__(self, width: int, keypoints: int, channels: int, own: int, layers: int) -> None:
        super().__init__()
        self.transition_heatmap = _transition(width, channels)
        blocks = nn.Sequential(*(BasicBlock(channels, channels) for _ in range(layers - 1)))
        self.head_heatmap = nn.Sequential(blocks, nn.Conv2d(channels, keypoints + 1, 1))
        self.transition_offset = _transition(width, keypoints * own)
        for layer in [module for module in self.modules() if isinstance(module, nn.Conv2d)]:
            small(layer)
        self.offset_feature_layers = nn.Sequential(*(AdaptBlock(keypoints, own) for _ in range(layers)))
        self.offset_final_layer = nn.Conv2d(keypoints * own, 2 * keypoints, 1, groups=keypoints)
        small(self.offset_final_layer)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        heat = self.head_heatmap(self.transition_heatmap(features))
        return heat, self.offset_final_layer(self.offset_feature_layers(self.transition_offset(features)))


def _transition(inputs: int, outputs: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


HEADS = ("transition_heatmap.", "head_heatmap.", "transition_offset.", "offset_feature_layers.", "offset_final_layer.")
BRANCH = re.compile(r"head\.offset_(feature_layers|final_layer)\.(\d+)\.(.*)")


def load_reference(state: Mapping[str, Any], input_size: Sequence[int] = (512, 512), **options: Any) -> DEKR:
    """A DEKR from a released checkpoint; the network and its keypoints are read off the shapes. `options` are DEKR's
    own. In evaluation mode. Raises ValueError, naming keys, for anything else."""
    keys = {name: f"head.{name}" for name in HEADS} | {"": "backbone."}
    wanted = ("transition_heatmap.0.weight", "transition_offset.0.weight", "offset_final_layer.0.weight")
    renamed = read_released(state, DEKR, wanted, keys)
    width = renamed["head.transition_heatmap.0.weight"].shape[1]
    names = [name for name, form in HRNETS.items() if form.width * (2**BRANCHES - 1) == width]
    if not names:
        raise ValueError(f"not a DEKR checkpoint: no HRNet has the {width} channels that its heads read")
    own = renamed["head.offset_final_layer.0.weight"].shape[1]
    read: dict[str, Any] = {"channels": renamed["head.transition_heatmap.0.weight"].shape[0], "keypoint_channels": own}
    keypoints = renamed["head.transition_offset.0.weight"].shape[0] // own
    read |= {"backbone": names[-1], "input_size": list(input_size), "reference": True}
    model = DEKR(keypoints, DEKR.Options(**(read | options)))
    return loaded(model, grouped(renamed, keypoints))


def grouped(state: Mapping[str, Tensor], keypoints: int) -> dict[str, Tensor]:
    """A state with the layers of each keypoint's branch as groups of one. Raises ValueError where one is missing."""
    ours: dict[str, Tensor] = {}
    branches: dict[str, dict[int, Tensor]] = {}
    for key, value in state.items():
        match = BRANCH.fullmatch(key)
        if match is None:
            ours[key] = value
        else:
            layer, number, rest = match.groups()
            branches.setdefault(f"head.offset_{layer}.{rest}", {})[int(number)] = value
    for key, parts in branches.items():
        if sorted(parts) != list(range(keypoints)):
            raise ValueError(f"not a DEKR checkpoint: {key} is there for {len(parts)} of {keypoints} keypoints")
        values = [parts[number] for number in range(keypoints)]
        same = key.endswith(("regular_matrix", "num_batches_tracked"))
        ours[key] = values[0] if same else torch.cat(values)
    return ours
