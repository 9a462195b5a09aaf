"""Anatomy3D: a 3D pose from 2D keypoints over time, as directions and lengths of bones.

Chen et al., "Anatomy-aware 3D Human Pose Estimation with Bone-based Pose Decomposition", TCSVT 2021;
sunnychencool/Anatomy3D @ cdac552, which has no licence: written from a description of it, and agrees with it
numerically. Directions come from a window of frames, lengths from frames anywhere in the video: a person's bones stay
as long as they are, so that the clearest frames, which attention finds, tell them for all others. In metres,
    points         mpjpe(x, x*)                   x = V (L len . D dir2), of detached ones: what joins them learns
    frame          mpjpe(q_r, q*_r)               q the pose of a single frame, r one of a sample's
    lengths        100 mean (len - len*)^2        len_b = sum_t softmax_t(10 A [q, |q|])_b |bone_b(q_t)|, q detached
    directions     0.3 mean_b |dir2 - dir*|^2     the second net's, 0.15 of the first's
    shifts         2 mpjpe(js2, js*)              J_j - J_i of joints that no bone joins, 1 of the first's
and `augmented_frame`, `augmented_lengths` of the same frames of people whose bones are up to 30 % longer or shorter,
seen again by the camera. Means run over all keypoints or bones, those that are not annotated being 0 in them.

What differs: the reference's augmentation writes into its argument, so that plain frames learn the longer people's
poses (`reference`); ours leaves them alone. It projects with Human3.6M's lens and its distortion, ours through the
sample's `lens`, a pinhole: samples without have no such part, which a run says. Every bone of a person is changed for
itself, by a share of its own mean length. r is drawn from the frame's number. Answers are counted from the answered
root; the loss sees the root's own row, as published.

Lengths are read off `random2d` where a sample has it. Where not (a sequence of your own, an exported file), off the
window's own frames, of which the middle one is then r. `lift` reads whole sequences in the dilated form of the same
weights, with lengths of all frames. With `causal` nothing after a frame is looked at, and windows are the first half of
a clip twice as long; published is a draw of 50 earlier frames for the lengths, here all earlier ones tell them.

Training as published: Adam with amsgrad, rate 1e-3, times 0.95 each epoch, 1024 frames at once, 60 epochs, mirrored at
random; batch norm's momentum falls from 0.1 to 0.001.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...datasets.bodies.skeletons import H36M17
from ...datasets.constants import constants
from ...datasets.options import option
from ...datasets.reading.files import from_home
from ...datasets.reading.weights import fitting, read_content, unwrapped
from ...datasets.sample import BODY_MM, Labeled, Unlabeled
from ...datasets.skeleton import Skeleton
from ..output import Grid, Poses, Votes
from ..parts.anatomy import AnatomyHead, DirectionNet, Fusion, LengthNet, full, unit
from ..parts.bones import below, bones_of, lengthened, shifts, star, vectors
from ..people import need_root
from ..pose_model import PoseModel
from .anatomy3d_released import POINTWISE, released_names

METRE = 1000.0
"""In mm. Networks and losses count in metres."""
TEMPERATURE = 10.0
PART = 1024
"""Frames of a whole sequence whose windows are looked at together."""


class Anatomy3D(PoseModel):
    """One vote for each keypoint, mm from the root.

    Features (B, 2C + bones + 3K) are what the second and the first net of directions came to, lengths in m, and the
    pose of one of the sample's single frames. `votes.extra` holds what losses are of, in m: of every head `apart`
    (B, K, 3), joints of detached directions and lengths, and `directions` (B, 3 bones); of the main one the others too.
    """

    @dataclass(frozen=True)
    class Options(PoseModel.Options):
        input_size: list[int] = option([1000, 1002], "width, height; of Human3.6M's pictures", low=1, size=2)
        weights: str | None = option(None, "a released checkpoint, a local file; or null: random")
        widths: list[int] = option([3, 3, 3, 3, 3], "of the filters, odd; their product is the window in frames", low=1)
        channels: int = option(1024, "of the layers", low=1)
        dropout: float = option(0.25, "behind each layer", low=0, high=0.99)
        causal: bool = option(False, "looks at nothing that comes after a frame")
        coordinates: str = option(
            "screen",
            "what 2D keypoints are read in: screen, x from -1 to 1 over the picture, as published; camera, (x - cx) / "
            "fx, so that focal length and principal point, which must be known, are taken out of them",
            choices=("screen", "camera"),
        )
        lengthening: float = option(
            0.6, "range of the change of bones in augmented frames, of their mean length; 0: none", low=0, high=1.9
        )
        distance: float = option(5.0, "m, about how far away augmented people stand", low=0.5)
        reference: bool = option(False, "plain frames learn the poses of augmented ones, as in the reference")

    reads: tuple[str, ...] = ("keypoints2d",)  # type: ignore[misc]
    space = BODY_MM
    frames: int = 0  # type: ignore[misc]
    options: Options
    ends: Tensor
    moves: Tensor
    apart: Tensor
    warned = False

    def __init__(self, keypoints: int, options: Options) -> None:
        keypoints = max(keypoints, 2)  # of a single one options are tried out, before data is read
        super().__init__(keypoints, options)
        even = [width for width in options.widths if width % 2 == 0]
        if even or not options.widths:
            raise ValueError(f"model.widths={options.widths} must be odd numbers, so that windows have a middle")
        if options.coordinates == "camera":
            self.reads = ("keypoints2d", "lens")
        self.window = math.prod(options.widths)
        self.frames = 2 * self.window - 1 if options.causal else self.window
        bones, channels, widths = keypoints - 1, options.channels, options.widths
        self.direction = DirectionNet(keypoints, bones, widths, channels, options.dropout, options.causal)
        self.length = LengthNet(keypoints, bones, len(widths) - 1, channels, options.dropout)
        pairs = keypoints * (keypoints + 1) // 2 - bones
        self.shifts = nn.ModuleList(Fusion(bones, channels, pairs) for _ in ("first", "second"))
        self.head = self.new_head()
        cells, cell = 16, 2 * METRE / 16
        depth = Grid((cells,), (cell,), (cell / 2 - METRE,))
        self.grid = Grid((cells, cells), (cell, cell), depth.origin * 2, depth)
        self.root = 0
        self.draw(star(keypoints))
        if options.weights is not None:
            self.load_released(read_content(from_home(options.weights)), options.weights)

    def draw(self, bones: Sequence[tuple[int, int]]) -> None:
        """Take `bones`, (one, other), as those that are answered."""
        device = next(self.parameters()).device
        plain, count = tuple(bones), len(bones) + 1
        self.register_buffer("ends", torch.tensor(plain, device=device), persistent=False)
        self.register_buffer("moves", below(plain, self.root, count).to(device), persistent=False)
        self.register_buffer("apart", torch.tensor(shifts(plain, count), device=device), persistent=False)

    @classmethod
    def learns(cls, skeleton: Skeleton) -> Skeleton:
        """All keypoints. Raises ValueError for a skeleton without a root, or with nothing besides."""
        need_root(cls.__name__, skeleton)
        if len(skeleton) < 2:
            raise ValueError(f"{cls.__name__} needs 2 keypoints or more; skeleton {skeleton.name!r} has one")
        return skeleton

    def know(self, skeleton: Skeleton) -> Self:
        """Raises ValueError where released weights are of other keypoints."""
        if self.options.weights is not None and skeleton.keypoints != H36M17.keypoints:
            raise ValueError(
                f"model.weights={self.options.weights} is of {', '.join(H36M17.keypoints)}, in this order; skeleton "
                f"{skeleton.name!r} has {', '.join(skeleton.keypoints)}"
            )
        self.root = skeleton.root or 0
        self.draw(bones_of(skeleton))
        return self

    def new_head(self, layers: int | None = None) -> nn.Module:
        count = layers or self.options.head_layers
        return AnatomyHead(self.keypoints, self.keypoints - 1, self.options.channels, count)

    # What the networks read

    def normalised(self, keypoints2d: Tensor, lens: Tensor | None) -> Tensor:
        """2D keypoints (B, ..., K, 3) px of the input as the networks read them, by `coordinates`; lens (B, 4). Raises
        ValueError where a camera is needed and not known."""
        places, scores = keypoints2d[..., :2], keypoints2d[..., 2:]
        if self.options.coordinates == "screen":
            width, height = self.input_size
            return torch.cat([places * (2 / width) - constants([1.0, height / width], places), scores], -1)
        if lens is None or (not torch.compiler.is_compiling() and not bool((lens[:, :2] > 0).all())):
            raise ValueError(
                "model.coordinates=camera needs to know the camera of every sample; choose data that has cameras, say "
                "what the focal length is, or choose model.coordinates=screen"
            )
        around = lens.view(-1, *(1,) * (places.dim() - 2), 4)
        return torch.cat([(places - around[..., 2:]) / around[..., :2], scores], -1)

    def others(self, sample: Unlabeled) -> Tensor | None:
        """The other frames (B, R, K, 3) that tell lengths; None where those of the window do. With `causal` they may
        come later, and are for training alone."""
        return None if self.options.causal and not self.training else sample.inputs.get("random2d")

    def seen(self, sample: Unlabeled) -> tuple[Tensor, Tensor]:
        """The window (B, window, K, 3) and the places (B, R, K, 2) of the frames that tell lengths, normalised."""
        lens, others = sample.inputs.get("lens"), self.others(sample)
        window = self.normalised(sample.inputs["keypoints2d"], lens)[:, : self.window]
        return window, (window if others is None else self.normalised(others, lens))[..., :2]

    def one(self, sample: Unlabeled, poses: Tensor) -> Tensor:
        """Of poses (B, R, ...) of single frames that of r, (B, ...): of random frames by the sample's number, of the
        window the frame that is answered."""
        count = poses.shape[1]
        if self.others(sample) is None:
            return poses[:, count - 1 if self.options.causal else count // 2]
        drawn = (sample.frame * 2654435761 >> 16) % count  # Knuth's multiplicative hash
        return poses[torch.arange(len(poses), device=poses.device), drawn]

    # The networks

    def features(self, sample: Unlabeled) -> Tensor:
        window, singles = self.seen(sample)
        levels = self.direction.levels(window)
        poses = self.length.poses(singles)
        lengths, pose = self.lengths_of(poses), self.one(sample, poses).flatten(1)
        return torch.cat([full(self.direction.again(levels)), full(levels[-1][..., 0]), lengths, pose], 1)

    def lengths_of(self, poses: Tensor) -> Tensor:
        """The bones' lengths (B, bones) in m that poses (B, R, K, 3) of a person's single frames tell."""
        shares = (TEMPERATURE * self.length.belief(poses)).softmax(1)
        return (shares * vectors(poses.detach(), self.ends).norm(dim=-1)).sum(1)

    def split(self, features: Tensor) -> tuple[Tensor, ...]:
        channels, bones = self.options.channels, self.keypoints - 1
        return features.split([channels, channels, bones, 3 * self.keypoints], 1)

    def votes(self, features: Tensor, sample: Unlabeled, head: nn.Module | None = None) -> Votes:
        with torch.autocast(features.device.type, enabled=False):  # a step in bf16 is 4 mm of a metre
            second, first, lengths, pose = self.split(full(features))
            own: Any = self.head if head is None else head
            directions = own.directed(second)
            apart = own.joints(lengths.detach(), directions.detach())
            extra = {"apart": apart, "directions": directions}
            if head is None:
                extra |= self.said(unit(self.direction.first_directions(first)), directions, lengths)
                extra["pose"] = pose.unflatten(1, (-1, 3))
            return self.placed(own.joints(lengths, directions), extra)

    def said(self, first: Tensor, directions: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """What losses alone read: directions of the first net, shifts of both, lengths."""
        one, other = (net(lengths.detach(), own) for net, own in zip(self.shifts, (first, directions), strict=True))
        return {"first_directions": first, "lengths": lengths, "first_shifts": one, "shifts": other}

    def placed(self, joints: Tensor, extra: Mapping[str, Tensor]) -> Votes:
        """Votes for joints (B, K, 3) in m, counted from their root."""
        where = METRE * (joints - joints[:, self.root, None])
        return Votes(self.grid, torch.zeros_like(where[:, None, :, 0]), where[:, None], extra)

    def decode(self, votes: Votes, sample: Unlabeled) -> Poses:
        return Poses.of_crops(votes.mean(), votes.confidence())

    # Losses

    def counted(self, sample: Labeled) -> Tensor:
        return sample.annotated

    def loss(self, votes: Votes, sample: Labeled) -> dict[str, Tensor]:
        """By name as above; of a further head's votes `points` and `directions`. Augmentation is for training."""
        people, known, truth = sample.image_index, sample.annotated, sample.keypoints / METRE
        bones, both = vectors(truth, self.ends), known[:, self.ends].all(-1)
        said = {name: value[people] for name, value in votes.extra.items()}

        def directed(answer: Tensor) -> Tensor:
            away = answer.unflatten(1, (-1, 3)) - F.normalize(bones, dim=-1)
            return (away.square().sum(-1) * both).mean()

        losses = {"points": mpjpe(said["apart"], truth, known), "directions": 0.3 * directed(said["directions"])}
        if "pose" not in said:
            return losses
        wanted, joined = vectors(truth, self.apart.flip(1)), known[:, self.apart].all(-1)
        losses |= {
            "first_directions": 0.15 * directed(said["first_directions"]),
            "lengths": 100 * ((said["lengths"] - bones.norm(dim=-1)).square() * both).mean(),
            "shifts": 2 * mpjpe(said["shifts"], wanted, joined),
            "first_shifts": mpjpe(said["first_shifts"], wanted, joined),
        }
        return losses | self.frame_losses(said["pose"], sample, known, both)

    def frame_losses(self, pose: Tensor, sample: Labeled, known: Tensor, both: Tensor) -> dict[str, Tensor]:
        """`frame`, of poses (P, K, 3) in m of the frames r, and in training what is augmented. Nothing where nobody
        says what the other frames show."""
        truth = sample.keypoints[:, None] if self.others(sample) is None else sample.inputs.get("random3d")
        if truth is None:
            return {}
        truth = truth / METRE
        lens = sample.inputs.get("lens", truth.new_zeros(len(truth), 4))
        plain = self.one(sample, truth)
        if not self.training or self.options.lengthening == 0:
            return {"frame": mpjpe(pose, plain, known)}
        seen = (lens[:, :2] > 0).all(-1, keepdim=True)
        self.tell(seen)
        longer, places = self.augmented(truth, torch.where(seen, lens, torch.ones_like(lens)))
        poses, one = self.length.poses(places), self.one(sample, longer)
        wanted = vectors(longer, self.ends).norm(dim=-1).mean(1)
        away = (self.lengths_of(poses) - wanted).square() * (both & seen)
        return {
            "frame": mpjpe(pose, torch.where(seen[..., None], one, plain) if self.options.reference else plain, known),
            "augmented_frame": mpjpe(self.one(sample, poses), one, known & seen),
            "augmented_lengths": 100 * away.mean(),
        }

    def tell(self, seen: Tensor) -> None:
        """Warns, the first time, of samples whose camera is not known."""
        if not self.warned and not bool(seen.all()):
            warnings.warn(
                "samples without a camera, by which people with other bones could be seen: they are trained on without "
                "model.lengthening",
                stacklevel=2,
            )
        self.warned = True

    def augmented(self, poses: Tensor, lens: Tensor) -> tuple[Tensor, Tensor]:
        """Poses (P, R, K, 3) in m of people with other bones, and their normalised places (P, R, K, 2), seen by cameras
        `lens` (P, 4). A person's bones change alike in all frames; roots stand about (0, -0.3, distance) m."""
        with torch.autocast(poses.device.type, enabled=False):  # labels are no rougher than they were
            bones = vectors(poses, self.ends).norm(dim=-1).mean(1)
            change = (torch.rand_like(bones) - 0.5) * self.options.lengthening * bones
            longer = lengthened(poses, self.ends, self.moves, change)
        root = 0.5 * torch.randn_like(longer[:, :, :1]) + constants([0.0, -0.3, self.options.distance], longer)
        space = longer + root
        around = lens[:, None, None]
        pixels = space[..., :2] / space[..., 2:].clamp_min(0.1) * around[..., :2] + around[..., 2:]
        seen = self.normalised(torch.cat([pixels, torch.ones_like(pixels[..., :1])], -1), lens)
        return longer, seen[..., :2]

    # Whole sequences

    @torch.no_grad()
    def lift(self, keypoints2d: Tensor, lens: Tensor | None = None, flip: Sequence[int] | None = None) -> Tensor:
        """Poses (T, K, 3) mm from the root of the 2D keypoints (T, K, 3) of a whole video, px of the input and a
        confidence, in evaluation mode; `lens` (4,) is the camera in px of the input, None or zeros where unknown.

        The network's test form: maps over all frames instead of a window for each, and lengths of all frames. At the
        ends the last frame stands again. Memory grows with T by what goes in and comes out alone. With the permutation
        `flip` of keypoints the mean of that and the mirror image's answer.
        """
        mode = self.training
        self.eval()
        frames = self.normalised(keypoints2d[None], None if lens is None else lens[None])[0]
        poses = self.lifted(frames)
        if flip is not None:
            back = constants([-1.0, 1.0, 1.0], frames)
            order = constants(flip, frames, torch.int64)
            poses = (poses + back * self.lifted(back * frames[:, order])[:, order]) / 2
        self.train(mode)
        return poses

    def lifted(self, frames: Tensor) -> Tensor:
        """The same of normalised frames (T, K, 3)."""
        lengths = self.lengths_over(frames)
        after = 0 if self.options.causal else self.window // 2
        before = self.window - 1 - after
        padded = torch.cat([frames[:1].expand(before, -1, -1), frames, frames[-1:].expand(after, -1, -1)])
        return METRE * self.joints_over(padded, lengths, rooted=True)

    def lengths_over(self, frames: Tensor) -> Tensor:
        """Lengths in m of normalised frames (T, K, 3): (T, bones), the same for all; with `causal` of each frame those
        that it and the ones before it tell."""
        singles = [self.length.poses(part) for part in frames[..., :2].split(PART)]
        logits = torch.cat([TEMPERATURE * self.length.belief(poses) for poses in singles])
        bones = torch.cat([vectors(poses, self.ends).norm(dim=-1) for poses in singles])
        if not self.options.causal:
            return (logits.softmax(0) * bones).sum(0).expand(len(frames), -1)
        logs = bones.clamp_min(1e-12).log()
        return (torch.logcumsumexp(logits + logs, 0) - torch.logcumsumexp(logits, 0)).exp()

    def joints_over(self, frames: Tensor, lengths: Tensor, rooted: bool = False) -> Tensor:
        """Joints (N, K, 3) in m of all windows of normalised frames (N + window - 1, K, 3) with lengths (N, bones)."""
        head, parts, done = self.head, [], 0
        for start in range(0, len(lengths), PART):
            for maps in self.direction.sequence(frames[start : start + PART + self.window - 1]):
                own = lengths[done : done + len(maps)]
                parts.append(head.joints(own, head.directed(full(maps))))  # type: ignore[operator]
                done += len(maps)
        joints = torch.cat(parts)
        return joints - joints[:, self.root, None] if rooted else joints

    # What a run, a file and a checkpoint ask

    def check(self, sample: Unlabeled, giver: str, cube: str | None = None) -> None:
        super().check(sample, giver, cube)
        try:
            self.normalised(sample.inputs["keypoints2d"], sample.inputs.get("lens"))
        except ValueError as error:
            raise ValueError(f"{giver}: {error}") from error

    def example(self, name: str, batch: int) -> Tensor:
        width, height = self.input_size
        if name == "lens":
            return torch.tensor([width, width, width / 2, height / 2], dtype=torch.float32).repeat(batch, 1)
        if name != "keypoints2d":
            return super().example(name, batch)
        places = torch.rand(batch, self.frames, self.keypoints, 2) * torch.tensor([width, height])
        return torch.cat([places, torch.rand_like(places[..., :1])], -1)

    def notes(self) -> dict[str, Any]:
        label = "last of the first half" if self.options.causal else "middle"
        return {
            "frames": self.frames,
            "root": self.root,
            "window": f"the answer is of the {self.frames // 2 + 1}th frame, the {label}; lengths are of these frames",
        }

    def load_released(self, content: Any, file: str) -> None:
        """Take the weights of a released checkpoint's content. Raises ValueError where they do not fit."""
        own = self.state_dict()
        names = released_names(own, len(self.options.widths) - 1)
        wanted = {name: own[key][..., None] if name in POINTWISE else own[key] for key, name in names.items()}
        try:
            state = fitting(content, wanted, file)
        except ValueError as error:
            raise ValueError(
                f"model.weights={file} is no Anatomy3D of these model.widths, channels: {error}"
            ) from error
        self.load_state_dict({key: state.get(name, own[key]).view_as(own[key]) for key, name in names.items()})


def mpjpe(answer: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """Mean distance of points (..., 3), those that are not known being 0 in it."""
    return ((answer - truth).norm(dim=-1) * known).mean()


def load_reference(content: Mapping[str, Any], **options: Any) -> Anatomy3D:
    """Anatomy3D from a released checkpoint's content, of Human3.6M's joints where it has 17, in evaluation mode; sizes
    are read off the shapes. `options` are its own. Raises ValueError for other checkpoints."""
    state = unwrapped(content, "expand_conv.weight")
    if "expand_conv.weight" not in state:
        raise ValueError(f"not an Anatomy3D checkpoint: expected expand_conv.weight, found {sorted(state)[:3]}")
    first, later = state["expand_conv.weight"], 0
    widths = [first.shape[2]]
    while (key := f"layers_conv.{2 * later}.weight") in state:
        widths.append(state[key].shape[2])
        later += 1
    chosen = {"widths": widths, "channels": first.shape[0]} | options
    model = Anatomy3D(first.shape[1] // 2, Anatomy3D.Options(**chosen))
    model.load_released(state, "the checkpoint")
    return (model.know(H36M17) if len(H36M17) == model.keypoints else model).eval()
