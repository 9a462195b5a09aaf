"""DCPose: the pose in the middle of three frames of a video, from heatmaps of each.

Liu et al., "Deep Dual Consecutive Network for Human Pose Estimation", CVPR 2021; Pose-Group/DCPose @ 8d90d88,
DcPose_RSN. That repository has no licence: nothing of it is here, this is written from its description. Agrees with it
numerically, and reads its released checkpoints. With h_p, h, h_n a single-frame network's heatmaps of the previous, the
middle and the next frame, m_p, m_n the frames between them (the input `margins`), and w_p = m_n / (m_p + m_n),
w_n = m_p / (m_p + m_n):

    difference   of [h - h_p, w_p (h - h_p), h - h_n, w_n (h - h_n)] of each keypoint in turn, to 2 K maps
    support      of [h, w_p h_p, w_n h_n] of each keypoint in turn, to K maps
    fused        of both
    answer       the mean over dilations of a modulated deformable convolution of `support`, whose offsets and weights
                 (without a sigmoid) are dilated convolutions of `fused`

The first three are residual steps blocks (parts/rsb.py). Features are h, `support` and `fused`, and the head is what
makes the answer of them. All frames pass the single-frame network in one batch.

Two stages. `stage=rough` is the single-frame network by itself: it reads pictures, or the middle frames of clips. What
it has learned becomes part of the whole by `weights`, a file of such a run, and stays there as published (`frozen`):
nothing of it learns, its batch norm goes by its statistics in training too, and these do not move, under whatever
strategy. The reference clears gradients alone, so that its statistics drift: `drift`. Without weights, or with
`frozen=false`, everything learns together, and the rough heatmaps have the same loss as the answer.

The published input is 384x288 over an HRNet-W48 that was trained on COCO. On another backbone, `small` on CPUs,
transposed convolutions bring its features to a quarter of the input.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn

from ...datasets.options import option
from ...datasets.reading.files import from_home
from ...datasets.reading.weights import check_finite, read_content, unwrapped
from ...datasets.sample import Labeled, Unlabeled
from ...datasets.skeleton import Skeleton
from ..heatmaps import CELL, DrawnMaps, hidden_layers, small, upsampling
from ..output import Votes
from ..parts.backbones import ABOUT, build_backbone
from ..parts.deformable import DeformConv
from ..parts.rsb import Chain
from ..pose_model import PoseModel, normalize
from ..released import loaded, read_released

STAGES = ("full", "rough")
FRAMES = 3
TAPS = 9
"""Of a kernel."""
ROUGH = ("backbone", "upsampling", "rough")
"""The parts of the single-frame network within the whole."""


class DCPose(DrawnMaps):
    """Maps of K keypoints of the middle frame, one cell every 4 pixels.

    Raises ValueError for sizes that are no multiples of the backbone's stride, for weights that do not fit, and where a
    single-frame network would be frozen that has learned nothing.
    """

    @dataclass(frozen=True)
    class Options(DrawnMaps.Options):
        input_size: list[int] = option([288, 384], "width, height", low=1, high=8192, size=2)
        weights: str | None = option(
            None,
            "of the single-frame network: a run with stage=rough, or its file; one of the published pose HRNet, which "
            "also gives heatmaps where it has as many keypoints; or of its backbone alone as of any: a published tag "
            "(ms_in1k), a local state_dict; null: random",
        )
        sigma: float = option(3.0, "of the Gaussians that heatmaps learn, cells", low=0.1, high=100)
        stage: str = option("full", "rough: the single-frame network by itself, from pictures", choices=STAGES)
        backbone: str = option("hrnet_w48", f"the network below the rough heatmaps: {ABOUT}")
        channels: int = option(64, "of the transposed convolutions above a backbone whose stride is more than 4", low=1)
        fused: int = option(64, "channels that offsets and weights are made of", low=1)
        dilations: list[int] = option([3, 6, 9, 12, 15], "of the deformable convolutions, cells", low=1)
        frozen: bool | None = option(
            None,
            "the single-frame network stays as it is, its statistics too; null: where weights give its heatmaps, as "
            "published",
        )
        drift: bool = option(
            False, "as the reference: what is frozen goes by each batch's statistics in training, and its own drift"
        )
        rough_loss: float = option(1.0, "weight of the rough heatmaps' loss where they learn", low=0)
        reference: bool = option(
            False,
            "the reference's labels, loss and decoding, for comparison: the label's centre rounded to a cell, the "
            "Gaussian cut to 19 x 19 at sigma 3, and counted where any of it lies in the map; the mean over cells; a "
            "quarter of a cell towards the higher neighbour; cell j at pixel 4j + 0.5; the peak of the map for "
            "confidence",
        )

        @property
        def freezes(self) -> str:
            return "frozen=true" if self.frozen and self.weights is None else super().freezes

    reads: ClassVar[tuple[str, ...]] = ("image", "margins")
    frames = FRAMES
    options: Options

    def __init__(self, keypoints: int, options: Options) -> None:
        super().__init__(keypoints, options)
        given = read_rough(options.weights)
        own = None if given.whole else options.weights
        self.backbone = build_backbone(options.backbone, own, self.input_size)
        self.set_grid(self.backbone.stride)
        doublings = int(math.log2(self.backbone.stride // CELL))
        self.upsampling = upsampling(self.backbone.channels, options.channels, doublings)
        self.channels = options.channels if doublings else self.backbone.channels
        if not self.full:
            self.reads, self.frames = ("image",), 0  # type: ignore[misc]
        else:
            self.rough = self.rough_head(1)
            self.difference = Chain(4 * keypoints, 2 * keypoints, 2)
            self.support = Chain(3 * keypoints, keypoints, 1)
            self.fusion = Chain(3 * keypoints, options.fused, 2)
        self.head = self.new_head()
        self.learned = self.take(given)
        self.names = given.names if given.whole else ()
        self.freeze(options.frozen)

    @property
    def full(self) -> bool:
        return self.options.stage == "full"

    def new_head(self, layers: int | None = None) -> nn.Module:
        layers = layers or self.options.head_layers
        if not self.full:
            return self.rough_head(layers)
        return Correction(self.keypoints, self.options.fused, self.options.dilations, layers)

    def rough_head(self, layers: int) -> nn.Module:
        """Heatmaps of single frames: `layers` convolutions, hidden 3x3 ones with batch norm, then 1x1 to K maps."""
        final = nn.Conv2d(self.channels, self.keypoints, 1)
        small(final)
        hidden = hidden_layers(self.channels, layers - 1)
        return nn.Sequential(*hidden, final) if hidden else final

    def take(self, given: Rough) -> bool:
        """Load what a file has of the single-frame network; gives whether heatmaps were among it."""
        maps = self.rough if self.full else self.head
        own = nn.ModuleDict({"backbone": self.backbone, "upsampling": self.upsampling, "rough": maps})
        shapes = {key: value.shape for key, value in own.state_dict().items()}
        if not given.whole and any(shapes.get(key) != value.shape for key, value in given.state.items()):
            return False  # of other keypoints: its backbone alone is taken
        try:
            own.load_state_dict(given.state, strict=given.whole)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise ValueError(
                f"model.weights={self.options.weights}: its single-frame network does not fit: {reason}"
            ) from error
        return bool(given.state)

    def freeze(self, frozen: bool | None) -> None:
        """Keep the single-frame network as it is, or let it learn; None: by whether it has learned."""
        weights = self.options.weights
        if frozen and not self.full:
            raise ValueError("model.frozen=true is of model.stage=full; the single-frame network learns in stage rough")
        if frozen and weights is not None and not self.learned:
            raise ValueError(
                f"model.frozen=true: model.weights={weights} gives no heatmaps of {self.keypoints} keypoints, so that "
                "random ones would stay. Train them with model.stage=rough, and give that run's file"
            )
        if frozen is None:
            frozen = self.full and self.learned and not self.options.adapters
        if self.full and frozen == next(self.rough.parameters()).requires_grad:
            for name in ROUGH:
                self.get_submodule(name).requires_grad_(not frozen)
        self.hold(ROUGH if frozen and not self.options.drift else ())
        self.options = replace(self.options, frozen=frozen)

    def resumed(self, options: PoseModel.Options) -> Self:
        """With its `frozen` and `drift`. Raises ValueError for another stage."""
        if isinstance(options, DCPose.Options):
            if options.stage != self.options.stage:
                raise ValueError(
                    f"the given network is of model.stage={self.options.stage}, not {options.stage}: say "
                    f"model.stage={self.options.stage}, or build a full one on it: no start, model.weights=FILE"
                )
            self.options = replace(self.options, drift=options.drift)
            self.freeze(self.options.frozen if options.frozen is None else options.frozen)
        return super().resumed(options)

    def with_adapters(self, rank: int) -> Self:
        if rank and self.options.frozen:
            raise ValueError(
                f"model.adapters={rank} lets the single-frame network learn, model.frozen=true keeps it: say one"
            )
        return super().with_adapters(rank)

    def know(self, skeleton: Skeleton) -> Self:
        if self.names and self.names != skeleton.keypoints:
            raise ValueError(
                f"model.weights={self.options.weights} answers {', '.join(self.names)}; here they are "
                f"{', '.join(skeleton.keypoints)}. Train the single-frame network for these"
            )
        return self

    def check(self, sample: Unlabeled, giver: str, cube: str | None = None) -> None:
        """Of clips the single-frame network reads the middle frames."""
        clips = not self.full and "image" in sample.inputs and sample.image.dim() == 5
        super().check(sample.window(sample.image.shape[1] // 2, 0) if clips else sample, giver, cube)

    def features(self, sample: Unlabeled) -> Tensor:
        image = normalize(sample.image)
        self.check_size(image)
        if not self.full:
            return self.upsampling(self.backbone(image if image.dim() == 4 else image[:, image.shape[1] // 2]))
        parts = self.temporal(self.rough_maps(image), sample.inputs["margins"])
        return torch.cat([parts.rough, parts.support, parts.fused], 1)

    def rough_maps(self, image: Tensor) -> Tensor:
        """Heatmaps (B, 3, K, H/4, W/4) of normalised clips (B, 3, 3, H, W), each frame by itself."""
        return self.rough(self.upsampling(self.backbone(image.flatten(0, 1)))).unflatten(0, (-1, FRAMES))

    def temporal(self, maps: Tensor, margins: Tensor) -> Temporal:
        """What the frames' heatmaps (B, 3, K, h, w) say together, `margins` (B, 2) being the frames between them."""
        before, now, after = maps.unbind(1)
        shares = margins / margins.sum(1, keepdim=True).clamp_min(1e-6)  # 0 of an item that could not be read
        earlier, later = shares.flip(1).view(-1, 2, 1, 1, 1).unbind(1)
        away, ahead = now - before, now - after
        difference = self.difference(in_turn(away, away * earlier, ahead, ahead * later))
        support = self.support(in_turn(now, before * earlier, after * later))
        return Temporal(now, difference, support, self.fusion(torch.cat([difference, support], 1)))

    def votes(self, features: Tensor, sample: Unlabeled, head: nn.Module | None = None) -> Votes:
        """`extra` holds the `rough` heatmaps (B, K, h, w) of the middle frame."""
        votes = super().votes(features, sample, head)
        return replace(votes, extra={"rough": features[:, : self.keypoints]}) if self.full else votes

    def loss(self, votes: Votes, sample: Labeled) -> dict[str, Tensor]:
        losses = super().loss(votes, sample)
        if self.full and not self.options.frozen and self.options.rough_loss > 0:
            rough = self.error(votes.extra["rough"].float(), sample)
            losses["rough"] = self.options.rough_loss * rough
        return losses

    def example(self, name: str, batch: int) -> Tensor:
        """Margins of one frame and more."""
        if name != "margins":
            return super().example(name, batch)
        return 1.0 + torch.arange(2 * batch).view(batch, 2) % 3

    def notes(self) -> dict[str, Any]:
        said = "(B, 2) float32: steps in frames of the video from the first frame to the middle one, and to the last"
        return {"margins": said} if self.full else {}


class Temporal(NamedTuple):
    """Maps (B, channels, h, w) of three frames."""

    rough: Tensor
    """K, of the middle frame."""
    difference: Tensor
    """2 K"""
    support: Tensor
    """K"""
    fused: Tensor


class Correction(nn.Module):
    """The head: features (B, K + K + `channels`, h, w), the rough and the support heatmaps and what tells where to look
    in the latter, to heatmaps (B, K, h, w). Of several `layers` the first ones are 3x3 convolutions of what tells."""

    def __init__(self, keypoints: int, channels: int, dilations: Sequence[int], layers: int) -> None:
        super().__init__()
        self.keypoints = keypoints
        self.hidden = nn.Sequential(*hidden_layers(channels, layers - 1))

        def dilated(outputs: int, step: int) -> nn.Conv2d:
            layer = nn.Conv2d(channels, outputs, 3, padding=step, dilation=step, bias=False)
            small(layer)
            return layer

        self.offsets = nn.ModuleList(dilated(2 * TAPS * keypoints, step) for step in dilations)
        self.masks = nn.ModuleList(dilated(TAPS * keypoints, step) for step in dilations)
        self.warps = nn.ModuleList(DeformConv(keypoints, keypoints, 3, padding=d, dilation=d) for d in dilations)
        for warp in self.warps:
            nn.init.dirac_(warp.weight)  # type: ignore[arg-type]
            nn.init.zeros_(warp.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> Tensor:
        support, fused = features[:, self.keypoints : 2 * self.keypoints], features[:, 2 * self.keypoints :]
        fused, answers = self.hidden(fused), []
        for offsets, masks, warp in zip(self.offsets, self.masks, self.warps, strict=True):
            answers.append(warp(support, offsets(fused), masks(fused)))
        return torch.stack(answers).mean(0)


class Rough(NamedTuple):
    """What a file has of a single-frame network, under the names that it has here."""

    state: dict[str, Tensor]
    names: tuple[str, ...] = ()
    """Of its keypoints, where it says them."""
    whole: bool = False
    """The state is that of all of it; else its backbone is read by itself, from files of many forms."""


def read_rough(weights: str | None) -> Rough:
    """Of a run of ours backbone and heatmaps, of the published pose HRNet the layer of its heatmaps. Nothing of other
    weights, which are a backbone's. Raises ValueError for a file that cannot be read."""
    if weights is None:
        return Rough({})
    path = from_home(weights)
    if not path.is_file():
        if "/" in weights or path.suffix in (".pt", ".pth", ".safetensors"):
            raise ValueError(f"model.weights={weights}: no such file. Name one, a tag of the backbone's, or null")
        return Rough({})
    try:
        content = read_content(path)
    except ValueError as error:
        raise ValueError(f"model.weights={weights}: {error}") from error
    if not isinstance(content, dict):
        return Rough({})
    if content.get("name") != "dcpose" or "skeleton" not in content:
        plain = unwrapped(content, "final_layer.weight")
        ends = ("weight", "bias")
        return Rough({f"rough.{end}": plain[f"final_layer.{end}"] for end in ends if f"final_layer.{end}" in plain})
    maps = "rough." if content["architecture"].get("stage") == "full" else "head."
    state = {
        f"rough.{key.removeprefix(maps)}" if key.startswith(maps) else key: value
        for key, value in content["model"].items()
        if key.startswith(("backbone.", "upsampling.", maps))
    }
    check_finite(state)
    return Rough(state, tuple(content["skeleton"]["keypoints"]), whole=True)


def in_turn(*maps: Tensor) -> Tensor:
    """Maps (B, K, h, w) of several kinds, those of each keypoint next to each other: (B, K * kinds, h, w)."""
    return torch.stack(maps, 2).flatten(1, 2)


def load_reference(state: Mapping[str, Tensor], input_size: Sequence[int] = (288, 384)) -> DCPose:
    """A DCPose from a released checkpoint, in evaluation mode, with the reference's labels and decoding; the network
    below is frozen. Its frames are passed as ours (previous, middle, next). Raises ValueError where it is none."""
    wanted = ("rough_pose_estimation_net.final_layer.weight", "offsets_list.0.0.weight", "masks_list.0.0.weight")
    lists = {"offsets_list.{}.0.": "offsets", "masks_list.{}.0.": "masks"}
    lists["modulated_deform_conv_list.{}.deform_conv."] = "warps"
    steps = range(len(DCPose.Options().dilations))
    ours = {begin.format(i): f"head.{part}.{i}." for begin, part in lists.items() for i in steps} | {
        "diff_temporal_fuse.": "difference.",
        "support_temporal_fuse.": "support.",
        "offset_mask_combine_conv.": "fusion.",
        "rough_pose_estimation_net.final_layer.": "rough.",
        "rough_pose_estimation_net.": "backbone.",
    }
    renamed = read_released(state, DCPose, wanted, ours)
    keypoints, width = renamed["rough.weight"].shape[:2]
    fused = renamed["head.masks.0.weight"].shape[1]
    options = DCPose.Options(
        backbone=f"hrnet_w{width}",
        input_size=list(input_size),
        fused=fused,
        frozen=True,
        reference=True,
    )
    return loaded(DCPose(keypoints, options), renamed)
