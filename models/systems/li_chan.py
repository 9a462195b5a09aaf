"""Li & Chan: each joint regressed from its parent, while a second task says in which windows of the crop joints lie.

Li and Chan, "3D Human Pose Estimation from Monocular Images with Deep Convolutional Neural Network", ACCV 2014. No code
and no weights were released: what follows is the paper's text, and widths from its authors' next code
(sijinli/itheano @ 71803f2). Three convolutions are shared by two branches of three linear layers:
    R_i = J_i - J_parent(i),      E_r = sum_i |R_i - R'_i|^2,                            R' = tanh of the one branch,
    h_il = 1 where J_i lies in window l, seen or hidden,      E_d = sum_il cross-entropy of h_il and the other branch,
    Phi = E_r / 2 + E_d / 2, the mean over the batch's people here;   joints are the sums of R' along the tree.
The convolutions receive the average of both branches' gradients where E_r and E_d are both taken. The paper's
two ways to train are `detection` of 0.5, both at once, and of 1 and then 0: detections first, then regression from
their convolutions, `weights` naming the file.

R is counted in 0.6 of what the crop shows, that tanh covers it: of a body's 2 m the paper's 1200 mm. In 3D x and y are
the crop's, in pixels, so that a crop is as wide as `extent` where the person stands; the paper's are the camera's. The
top of the tree is counted from the crop's centre and, along z, from the root, where the paper has the pelvis at zero;
a skeleton in several parts has a top for each. What the text leaves open: response normalisation stands before the
second pooling and looks at 5 x 5 cells, those outside the map being zeros; pixels are counted from ImageNet's mean.

E_d sums over hundreds of windows a joint and outweighs E_r in the convolutions. Short training learns regression sooner
with a share of 0.02, where both are of one size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...datasets.constants import constants
from ...datasets.options import option
from ...datasets.reading.files import from_home
from ...datasets.reading.weights import fitting, read_content
from ...datasets.sample import ROOT_MM, Labeled, Unlabeled
from ...datasets.skeleton import Skeleton
from ...datasets.tree import parents
from ..output import Grid, Poses, Votes
from ..parts.backbones import ABOUT, build_backbone
from ..people import CELL, DEPTH_CELLS, check_extent, need_root, notes_of_space
from ..pose_model import IMAGENET_STD, WEIGHTS, PoseModel, normalize

PAPER = "paper"
Module = TypeVar("Module", bound=nn.Module)
REACH = 0.6
"""What tanh covers each way, of the crop's side and of the extent."""
ALPHA, BETA, AROUND = 0.0025, 0.75, 5
"""Of local response normalisation, and the side of its window in cells."""


class LiChan(PoseModel):
    """One vote for each keypoint, (x, y) px: where the steps from parent to child lead.

    `votes.extra["detections"]` (B, K, rows, columns) are logits of the windows, `votes.extra["read"]` the features as
    both branches of this pass read them; votes of further heads have neither.
    """

    @dataclass(frozen=True)
    class Options(PoseModel.Options):
        input_size: list[int] = option([112, 112], "width, height", low=1, high=8192, size=2)
        weights: str | None = option(None, f"{WEIGHTS}; or a weights file of this system, for its convolutions alone")
        head_layers: int = option(3, "layers of the branch of regression", low=1)
        backbone: str = option(PAPER, f"below the maps: {PAPER}, its first two convolutions; or {ABOUT}")
        channels: int = option(
            64, "maps that both branches read: of the third convolution, or of a 1x1 one behind another backbone", low=1
        )
        hidden: list[int] = option(
            [1024, 2048], "widths of the branches' hidden layers; the last holds for more", low=1
        )
        dropout: float = option(0.25, "behind the first layer of each branch", low=0, high=0.99)
        detection: float = option(
            0.5, "its share of the objective: 0.5 both tasks; 1 detection first; then 0 regression alone", low=0, high=1
        )
        window: int = option(10, "side of the windows in which joints are detected, px of the input", low=1)
        step: int = option(10, "from window to window, px", low=1)
        reference: bool = option(
            False,
            "the paper's pixels, 0 to 255 less their mean, and first weights, of N(0, 5e-5) and N(0, 1e-3): gradients "
            "of them are below Adam's epsilon. Ours are ImageNet's range and weights as He et al. scale them",
        )

    options: Options
    above: Tensor
    ancestors: Tensor
    unit: tuple[float, ...]
    middle: tuple[float, ...]
    axes: ClassVar[int] = 2

    def __init__(self, keypoints: int, options: Options) -> None:
        super().__init__(keypoints, options)
        if not options.hidden:
            raise ValueError("model.hidden=[] must name the width of one hidden layer or more")
        own = _own_weights(options.weights)
        self.backbone = _backbone(options, None if own else options.weights)
        self.maps = _maps(options.backbone, self.backbone.channels, options.channels)
        try:
            self.inputs = math.prod(self.feature_shape())
        except RuntimeError as error:
            width, height = self.input_size
            raise ValueError(
                f"model.input_size {width}x{height} does not pass model.backbone={options.backbone}: {error}"
            ) from error
        width, height = self.input_size
        self.rows, self.columns = (window_count(side, options.window, options.step) for side in (height, width))
        self.head = self.new_head()
        if options.detection > 0:
            outputs = keypoints * self.rows * self.columns
            self.detection = branch(self.inputs, outputs, options, len(options.hidden) + 1)
            self.fixed = {"detections": "detection=0"}
        self.follow((-1,) * keypoints)
        self.measure()
        if options.reference:
            published(self)
        if own:
            self.load_state_dict(_convolutions(own, self, str(options.weights)), strict=False)

    def follow(self, above: tuple[int, ...]) -> None:
        """Regress along the tree in which `above` are the parents, -1 that of a top."""
        device = next(self.parameters()).device
        self.register_buffer("above", torch.tensor(above, device=device), persistent=False)
        self.register_buffer("ancestors", ancestry(above).to(device), persistent=False)

    def know(self, skeleton: Skeleton) -> Self:
        self.follow(parents(skeleton))
        return self

    def measure(self) -> None:
        """Lay the grid out, and the unit of each axis."""
        width, height = self.input_size
        shape = max(height // CELL, 2), max(width // CELL, 2)
        self.grid = Grid(shape, (width / shape[1], height / shape[0]), (width / shape[1] / 2, height / shape[0] / 2))
        self.unit = (REACH * min(width, height),) * 2  # px that the square crop is wide
        self.middle = (width / 2, height / 2)

    def new_head(self, layers: int | None = None) -> nn.Module:
        return branch(self.inputs, self.keypoints * self.axes, self.options, layers or self.options.head_layers)

    def features(self, sample: Unlabeled) -> Tensor:
        self.check_size(sample.image)
        return self.maps(self.backbone(normalize(sample.image)))

    def votes(self, features: Tensor, sample: Unlabeled, head: nn.Module | None = None) -> Votes:
        if head is not None or self.options.detection == 0:
            return self.placed((self.head if head is None else head)(features))
        read = features.view_as(features)  # of this pass alone, so that `loss` can average what reaches it
        detections = self.detection(read).unflatten(1, (self.keypoints, self.rows, self.columns))
        return self.placed(self.head(read), detections=detections, read=read)

    def placed(self, answer: Tensor, **extra: Tensor) -> Votes:
        """The votes that the regression's answer (B, K * D), before tanh, stands for."""
        steps = answer.float().tanh().unflatten(1, (self.keypoints, self.axes))
        where = absolute(steps, self.ancestors) * constants(self.unit, steps) + constants(self.middle, steps)
        return Votes(self.grid, torch.zeros_like(where[:, None, :, 0]), where[:, None], extra)

    def decode(self, votes: Votes, sample: Unlabeled) -> Poses:
        return Poses.of_crops(votes.mean(), votes.confidence())

    def counted(self, sample: Labeled) -> Tensor:
        return sample.annotated

    def loss(self, votes: Votes, sample: Labeled) -> dict[str, Tensor]:
        """regression: E_r, of steps of which both ends are known; detection: E_d of known keypoints; each by its share
        of the objective, where it has one.

        In training mode, where both are taken, the gradients that the branches of this pass give to the features are
        halved: their sum becomes their average. Votes whose loss is not asked for give theirs whole.
        """
        losses, share, people = {}, self.options.detection, sample.image_index
        if share < 1:
            answered, wanted = (self.steps(points) for points in (votes.mean()[people], sample.keypoints))
            losses["regression"] = (1 - share) * regression_error(answered, wanted, self.known(sample))
        if "detections" in votes.extra:
            inside = windows(sample.keypoints[..., :2], self.input_size, self.options.window, self.options.step)
            losses["detection"] = share * detection_error(votes.extra["detections"][people], inside, sample.annotated)
        if len(losses) == 2 and self.training and votes.extra["read"].requires_grad:
            votes.extra["read"].register_hook(lambda gradient: gradient / 2)
        return losses

    def steps(self, points: Tensor) -> Tensor:
        """R (P, K, D) of points (P, K, D) of the input, in units that tanh covers."""
        return relative((points - constants(self.middle, points)) / constants(self.unit, points), self.above)

    def known(self, sample: Labeled) -> Tensor:
        """Which coordinates of R are known, (P, K, D) bool: those of both ends are."""
        ends = torch.stack([sample.annotated, sample.annotated, sample.whole][: self.axes], -1)
        return ends & (ends[:, self.above] | (self.above < 0)[:, None])


class LiChan3D(LiChan):
    """The same with z: one vote for each keypoint, (x px, y px, z mm from the root)."""

    @dataclass(frozen=True)
    class Options(LiChan.Options):
        extent: float | None = option(
            None, "mm, edge of the square that holds a whole person or hand; null: the skeleton's (2000, 300)", low=1
        )

    space = ROOT_MM
    options: Options
    axes = 3

    @classmethod
    def learns(cls, skeleton: Skeleton) -> Skeleton:
        """All keypoints. Raises ValueError for a skeleton without a root."""
        need_root("Li & Chan in 3D", skeleton)
        return skeleton

    @property
    def extent(self) -> float:
        """mm; that of a body until the skeleton is known."""
        return self.options.extent or 2000.0

    def know(self, skeleton: Skeleton) -> Self:
        self.root = -1 if skeleton.root is None else skeleton.root
        if self.options.extent is None and skeleton.extent > 0:
            self.options = replace(self.options, extent=skeleton.extent)
            self.measure()
        return super().know(skeleton)

    def measure(self) -> None:
        super().measure()
        cell = self.extent / DEPTH_CELLS
        self.grid = replace(self.grid, depth=Grid((DEPTH_CELLS,), (cell,), ((cell - self.extent) / 2,)))
        self.unit, self.middle = (*self.unit, REACH * self.extent), (*self.middle, 0.0)

    def notes(self) -> dict[str, Any]:
        return notes_of_space(self.space, self.extent, self.root)

    def check(self, sample: Unlabeled, giver: str, cube: str | None = None) -> None:
        super().check(sample, giver, cube)
        check_extent(type(self).__name__, self.extent, sample, giver)


# The network


class PaperConvolutions(nn.Module):
    """conv1 and conv2 of the paper with their pooling: (B, 3, H, W) normalised for ImageNet to (B, 64, h, w). `raw`:
    what they see is 0 to 255 less the mean."""

    channels = 64

    white: Tensor

    def __init__(self, raw: bool = False) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 32, 9), nn.Conv2d(32, self.channels, 5)
        white = 255 * torch.tensor(IMAGENET_STD) if raw else torch.ones(3)
        self.register_buffer("white", white.view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        maps = pooled(F.relu(self.conv1(image * self.white)))
        return pooled(local_response(F.relu(self.conv2(maps))))


def pooled(maps: Tensor) -> Tensor:
    return F.max_pool2d(maps, 3, 2, ceil_mode=True)


def local_response(maps: Tensor, side: int = AROUND, alpha: float = ALPHA, beta: float = BETA) -> Tensor:
    """u / (1 + alpha * the mean of u^2 over side x side cells) ** beta, within each of the maps (B, C, H, W). Beyond
    the border u is 0, and the mean is of all cells there too. torch's LocalResponseNorm looks across channels."""
    return maps / (1 + alpha * F.avg_pool2d(maps.square(), side, 1, side // 2)) ** beta


def _backbone(options: LiChan.Options, weights: str | None) -> Any:
    if options.backbone != PAPER:
        if options.reference:
            raise ValueError(f"model.reference=true is of model.backbone={PAPER}, not of {options.backbone}")
        width, height = options.input_size
        return build_backbone(options.backbone, weights, (width, height))
    if weights is not None:
        raise ValueError(
            f"model.weights={weights!r}: Li and Chan have published no weights; name a weights file of this system "
            "whose convolutions are to be taken, or null"
        )
    return scaled(PaperConvolutions(options.reference))


def _maps(backbone: str, inputs: int, channels: int) -> nn.Module:
    """conv3 of the paper, which is linear, with its pooling; a 1x1 convolution behind another backbone."""
    if backbone != PAPER:
        return scaled(nn.Conv2d(inputs, channels, 1))
    return scaled(nn.Sequential(nn.Conv2d(inputs, channels, 5), nn.MaxPool2d(3, 2, ceil_mode=True)))


class Branch(nn.Sequential):
    """Linear layers, in float32 under autocast too: a step in bf16 is 1/256 of the crop."""

    def forward(self, features: Tensor) -> Tensor:
        device = features.device.type
        if not torch.is_autocast_enabled(device):
            return super().forward(features)
        with torch.autocast(device, enabled=False):
            return super().forward(features.float())


def branch(inputs: int, outputs: int, options: LiChan.Options, layers: int) -> Branch:
    """`layers` linear layers, ReLU between them, dropout behind the first of them."""
    parts: list[nn.Module] = [nn.Flatten()]
    for layer in range(layers - 1):
        width = options.hidden[min(layer, len(options.hidden) - 1)]
        parts += [nn.Linear(inputs, width), nn.ReLU(inplace=True)]
        parts += [nn.Dropout(options.dropout)] * (layer == 0)
        inputs = width
    last = nn.Linear(inputs, outputs)
    made = scaled(Branch(*parts, last))
    nn.init.normal_(last.weight, std=1e-3)
    return made


def scaled(module: Module) -> Module:
    """Weights of convolutions and linear layers as He et al. scale them, biases 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return module


def published(model: nn.Module) -> None:
    """Weights as the paper draws them: of the first convolution N(0, 5e-5), of other layers N(0, 1e-3); biases 0."""
    std = 5e-5
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
            std = 1e-3


def _own_weights(weights: str | None) -> Mapping[str, Any] | None:
    """The content of a file that keyshift wrote of this system, in 2D or 3D; None for anything else."""
    path = None if weights is None else from_home(weights)
    if path is None or not path.is_file():
        return None
    content = read_content(path)
    return content if isinstance(content, Mapping) and content.get("name") in ("li_chan", "li_chan_3d") else None


def _convolutions(content: Mapping[str, Any], model: LiChan, file: str) -> dict[str, Tensor]:
    """Those of a file of this system. Raises ValueError where they do not fit."""
    wanted = {k: v for k, v in model.state_dict().items() if k.startswith(("backbone.", "maps."))}
    try:
        return fitting(content, wanted, file, ("head.", "detection."))
    except ValueError as error:
        raise ValueError(f"model.weights={file} has other convolutions than model.backbone: {error}") from error


# The formulas


def ancestry(above: tuple[int, ...]) -> Tensor:
    """(K, K) of the parents of K joints: 1 where the column's joint is the row's own, or above it in the tree."""
    lines = torch.eye(len(above))
    for joint, parent in enumerate(above):
        while parent >= 0:
            lines[joint, parent] = 1
            parent = above[parent]
    return lines


def relative(points: Tensor, above: Tensor) -> Tensor:
    """R (P, K, D) of joints J (P, K, D): J_i - J_parent(i); of a top, whose parent is -1, J_i."""
    return points - points[:, above] * (above >= 0)[:, None]


def absolute(steps: Tensor, ancestors: Tensor) -> Tensor:
    """Joints (B, K, D), the sums of steps (B, K, D) along the tree of `ancestry`."""
    return (ancestors[:, :, None] * steps[:, None]).sum(2)  # no matrix product, which autocast would make in bf16


def window_count(length: int, window: int, step: int) -> int:
    """How many windows stand along `length` px: the last is the first that reaches its end."""
    return math.ceil(max(length - window, 0) / step) + 1


def windows(points: Tensor, size: tuple[int, int], window: int, step: int) -> Tensor:
    """h: whether points (P, K, 2) px lie in the windows of an input of `size` (width, height), window l of an axis
    being step * l <= x < step * l + window: (P, K, rows, columns) bool."""
    inside = []
    for length, place in zip(size, points.unbind(-1), strict=True):
        first = step * torch.arange(window_count(length, window, step), device=points.device)
        inside.append((place[..., None] >= first) & (place[..., None] < first + window))
    columns, rows = inside
    return rows[..., :, None] & columns[..., None, :]


def regression_error(steps: Tensor, wanted: Tensor, known: Tensor) -> Tensor:
    """E_r: squared distances summed over joints, the mean over people (P, K, D), of coordinates that are known."""
    return ((steps - wanted).square() * known).sum((1, 2)).mean()


def detection_error(logits: Tensor, inside: Tensor, counted: Tensor) -> Tensor:
    """E_d: cross-entropy of logits (P, K, rows, columns) summed over windows and the joints (P, K) that count, the mean
    over people."""
    each = F.binary_cross_entropy_with_logits(logits.float(), inside.float(), reduction="none")
    return (each * counted[..., None, None]).sum((1, 2, 3)).mean()
