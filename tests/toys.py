"""What a user would add, in the fewest lines that the contract asks for: datasets with several people or none, 2D
sequences, and clips; a system for each; a strategy without a source, and one that relabels in rounds.

Loaded by path, and registered by `register(put)`, put(registry, name, entry) being monkeypatch.setitem.
"""

from copy import copy
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import nn

from keyshift.adapt.bank import Bank
from keyshift.adapt.methods.mean_teacher import drawn_to
from keyshift.adapt.scoring.evaluation import everyone
from keyshift.adapt.strategies import STRATEGIES
from keyshift.adapt.strategy import Strategy
from keyshift.adapt.trainer import Loop, Trainer
from keyshift.datasets.catalog import DATASETS, Data
from keyshift.datasets.constants import constants
from keyshift.datasets.loading import TrainingBatches
from keyshift.datasets.options import Options, option
from keyshift.datasets.reading.sequences import Recording, SequenceOptions
from keyshift.datasets.reading.sequences import Sequences as Sequences2D
from keyshift.datasets.sample import BODY_MM, CAMERA_MM, Item
from keyshift.datasets.skeleton import Skeleton
from keyshift.models.output import Grid, Poses, Votes, per_image, spatial_kl
from keyshift.models.pose_model import PoseModel, normalize
from keyshift.models.saved import MODELS

DOTS = Skeleton("dots", ("red", "green", "blue"), edges=((0, 1), (0, 2)), groups={"all": (0, 1, 2)})


class Scenes:
    """Pictures of nobody to three people: three coloured dots close together, one in ten of them not labelled."""

    @dataclass(frozen=True)
    class Options(Options):
        train: int = option(24, "pictures to train on", low=1)
        test: int = option(12, "pictures to test on", low=1)
        size: int = option(32, "side of a picture, px", low=8)

    skeleton = DOTS

    def __init__(self, options, part, style="plain"):
        self.options, self.style = options, style
        self.count, self.first = (options.train, 0) if part == "train" else (options.test, 10_000)
        self.name = f"{type(self).__name__.lower()}.{style}.{part}"
        self.identity = {"name": self.name, "count": self.count}

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if not 0 <= index < self.count:
            raise IndexError(index)
        number, size = self.first + index, self.options.size
        rng = np.random.default_rng([number, 7])
        quarter = rng.permutation(4)[: rng.integers(4)]
        root = (np.stack([quarter % 2, quarter // 2], 1) + rng.uniform(0.35, 0.65, (len(quarter), 2))) * size / 2
        points = root[:, None] + np.pad(rng.uniform(-0.15, 0.15, (len(root), 2, 2)), ((0, 0), (1, 0), (0, 0))) * size
        return self.item(number, self.picture(points, rng), points, rng.random(points.shape[:2]) > 0.1)

    def picture(self, people, rng):
        """(H, W, 3) with the points of people (P, 3, 2)."""
        size, shifted = self.options.size, self.style == "shifted"
        image = rng.uniform(0, 60, (size, size, 3)) + (np.array([90, 60, 30]) * rng.random() if shifted else 0)
        yy, xx = np.mgrid[:size, :size] + 0.5
        for person in people:
            for colour, (x, y) in zip(np.eye(3) * (150 if shifted else 255), person, strict=True):
                spot = np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / 4)[..., None]
                image = image * (1 - spot) + spot * colour
        return image.clip(0, 255).astype(np.uint8)

    def item(self, number, image, keypoints, annotated, **more):
        size = self.options.size
        return Item(
            image=image,
            box=np.array([0, 0, size, size], np.float32),
            id=f"{self.name}/{number}",
            sequence=f"block{number // 4}",
            frame=number,
            camera=more.pop("camera", np.zeros(4)),
            keypoints=keypoints,
            visible=annotated,
            annotated=annotated,
            **more,
        )


class Clips(Scenes):
    """Three frames of one person who walks; labelled in the middle one."""

    def clips(self, frames):
        if frames != 3:
            raise ValueError(f"{self.name} gives clips of 3 frames, not {frames}")
        return self

    def __getitem__(self, index):
        if not 0 <= index < self.count:
            raise IndexError(index)
        rng = np.random.default_rng([self.first + index, 8])
        points = rng.uniform(0.3, 0.7, (3, 2)) * self.options.size
        step = rng.uniform(-2, 2, 2)
        frames = np.stack([self.picture([points + t * step], rng) for t in (-1, 0, 1)])
        inputs = {"margins": np.ones(2, np.float32)}
        return self.item(self.first + index, frames, points, np.ones(3, bool), inputs=inputs)


class Walks(Scenes):
    """Videos of one person who walks at constant speed, whose frames are samples. In the other style colours are faint
    and each frame has its own noise, with spots of all colours that come and go."""

    length = 6

    def __init__(self, options, part, style="plain", frames=0):
        super().__init__(options, part, style)
        self.frames = frames

    def clips(self, frames):
        made = copy(self)
        made.frames, made.identity = frames, self.identity | {"frames": frames}
        return made

    def __getitem__(self, index):
        if not 0 <= index < self.count:
            raise IndexError(index)
        video, time = divmod(self.first + index, self.length)
        half = self.frames // 2
        times = np.arange(time - half, time + half + 1).clip(0, self.length - 1)
        image = np.stack([self.seen(video, t) for t in times])
        more = {"inputs": {"margins": np.ones(len(times) - 1)}} if self.frames else {}
        item = self.item(
            self.first + index, image if self.frames else image[0], self.places(video, time), KNOWN, **more
        )
        return replace(item, sequence=f"video{video}", frame=time)

    def places(self, video, time):
        rng = np.random.default_rng([video, 19])
        return (
            rng.uniform(0.3, 0.7, (3, 2)) + (time - self.length / 2) * rng.uniform(-0.05, 0.05, 2)
        ) * self.options.size

    def seen(self, video, time):
        rng = np.random.default_rng([video, time, 20])
        image = self.picture([self.places(video, time)], rng)
        if self.style == "plain":
            return image
        yy, xx = np.mgrid[: self.options.size, : self.options.size] + 0.5
        spots = np.zeros(image.shape)
        for x, y, *colour in rng.uniform(0, [*(2 * [self.options.size]), 120, 120, 120], (4, 5)):
            spots += np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / 6)[..., None] * colour
        return (image * 0.8 + spots + rng.normal(0, 10, image.shape)).clip(0, 255).astype(np.uint8)


KNOWN = np.ones(3, bool)


class Sequences(Scenes):
    """Five frames of 2D keypoints, and the middle one's 3D ones in the camera's frame. The other style's camera is
    longer, and its keypoints are less exact."""

    def __getitem__(self, index):
        if not 0 <= index < self.count:
            raise IndexError(index)
        size, shifted = self.options.size, self.style == "shifted"
        rng = np.random.default_rng([self.first + index, 9])
        camera = np.array([*(2 * [size * (2.6 if shifted else 2.0)]), size / 2, size / 2])
        points = rng.uniform(-300, 300, (1, 3)) + rng.uniform(-400, 400, (3, 3)) + [0, 0, 4000]
        frames = points + np.arange(-2, 3)[:, None, None] * rng.uniform(-40, 40, 3)
        pixels = frames[..., :2] / frames[..., 2:] * camera[:2] + camera[2:]
        pixels += rng.normal(0, 0.5 if shifted else 0.05, pixels.shape)
        inputs = {"keypoints2d": np.concatenate([pixels, np.ones((5, 3, 1))], -1)}
        nothing, known = np.zeros((0, 0, 3), np.uint8), np.ones(3, bool)
        return self.item(
            self.first + index, nothing, points, known, camera=camera, points=points, inputs=inputs, in_camera=True
        )


PERSONS = Skeleton(
    "persons",
    ("pelvis", "left_hand", "right_hand"),
    edges=((0, 1), (0, 2)),
    flip_pairs=((1, 2),),
    groups={"all": (0, 1, 2)},
    root=0,
    extent=2000.0,
)


class Persons(Scenes):
    """Three balls before cameras of several focal lengths: a pelvis 3 to 5 m away and two hands. Balls are the smaller
    the farther they are, and of hands the colour tells how far they reach. The crop's side is that of 2 m at the
    pelvis, more or less."""

    skeleton = PERSONS

    @dataclass(frozen=True)
    class Options(Scenes.Options):
        size: int = option(48, "side of a picture, px", low=8)

    def __getitem__(self, index):
        if not 0 <= index < self.count:
            raise IndexError(index)
        number, size = self.first + index, self.options.size
        rng = np.random.default_rng([number, 13])
        focal, root = rng.uniform(0.8, 1.25) * size, np.array([*rng.uniform(-600, 600, 2), rng.uniform(3000, 5000)])
        camera = np.array([focal, focal, *(size * rng.uniform(0.45, 0.55, 2))])
        points = root + np.concatenate([np.zeros((1, 3)), rng.uniform(-700, 700, (2, 3))])
        keypoints = points[:, :2] / points[:, 2:] * camera[:2] + camera[2:]
        half = 1000 * focal / root[2] * rng.uniform(0.8, 1.25)
        image = self.shown(keypoints, points, focal, rng)
        box = np.array([*(keypoints[0] - half), *(keypoints[0] + half)])
        known = np.ones(3, bool)
        return replace(self.item(number, image, keypoints, known, camera=camera, points=points), box=box)

    def shown(self, keypoints, points, focal, rng):
        """(H, W, 3) of balls at points in the camera's frame."""
        size, shifted = self.options.size, self.style == "shifted"
        image = rng.uniform(0, 60, (size, size, 3)) + (np.array([90, 60, 30]) * rng.random() if shifted else 0)
        yy, xx = np.mgrid[:size, :size] + 0.5
        away = (points[:, 2] - points[0, 2]) / 1400 + 0.5
        for k in np.argsort(-points[:, 2]):
            x, y = keypoints[k]
            colour = (1 - away[k]) * np.eye(3)[k] + away[k] * np.eye(3)[(k + 1) % 3] if k else np.eye(3)[0]
            spot = np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / (2 * (180 * focal / points[k, 2]) ** 2))[..., None]
            image = image * (1 - spot) + spot * colour * (150 if shifted else 255)
        return image.clip(0, 255).astype(np.uint8)


class Sketches(Persons):
    """The same without camera and without distances, under other names: one hand, the pelvis, and a head that nobody
    sees."""

    skeleton = Skeleton("sketches", ("right_hand", "pelvis", "head"), groups={"all": (0, 1, 2)}, root=1, extent=2000.0)

    def __getitem__(self, index):
        item, known = super().__getitem__(index), np.array([True, True, False])
        keypoints = item.keypoints[[2, 0, 0]] * known[:, None]
        return replace(item, camera=np.zeros(4), points=None, keypoints=keypoints, visible=known, annotated=known)


class BottomUp(PoseModel):
    """Heatmaps, and at each peak of keypoint 0 the offsets to the person's other keypoints, cells."""

    @dataclass(frozen=True)
    class Options(PoseModel.Options):
        input_size: list[int] = option([32, 32], "width, height", low=2, size=2)
        channels: int = option(16, "of the features", low=1)
        most: int = option(4, "people of a picture", low=1)
        threshold: float = option(0.3, "of a person's score", low=0, high=1)
        sigma: float = option(0.8, "of the Gaussians, cells", low=0.1)

    single = False

    def __init__(self, keypoints, options):
        super().__init__(keypoints, options)
        width, height = self.input_size
        self.grid = Grid((height // 2, width // 2), (2.0, 2.0), (1.0, 1.0))
        self.backbone = nn.Sequential(*self.layer(3, 2), *self.layer(options.channels))
        self.head = self.new_head()

    def layer(self, channels, stride=1):
        out = self.options.channels
        return nn.Conv2d(channels, out, 5, stride, 2), nn.BatchNorm2d(out), nn.ReLU()

    def new_head(self, layers=None):
        hidden = [self.layer(self.options.channels) for _ in range((layers or self.options.head_layers) - 1)]
        return nn.Sequential(*sum(hidden, ()), nn.Conv2d(self.options.channels, 3 * self.keypoints - 2, 1))

    def features(self, sample):
        self.check_size(sample.image)
        return self.backbone(normalize(sample.image))

    def votes(self, features, sample, head=None):
        maps, offsets = (self.head if head is None else head)(features).tensor_split([self.keypoints], 1)
        return Votes.from_maps(self.grid, maps, offsets=offsets.unflatten(1, (-1, 2)).permute(0, 3, 4, 1, 2))

    def decode(self, votes, sample):
        heat = votes.maps.sigmoid()
        root = heat[:, 0]
        peaks = torch.where(F.max_pool2d(root, 3, 1, 1) == root, root, 0.0).flatten(1)
        score, cell = peaks.topk(self.options.most)
        image, rank = (score > self.options.threshold).nonzero(as_tuple=True)
        y, x = torch.unravel_index(cell[image, rank], self.grid.shape)
        offsets = F.pad(votes.extra["offsets"][image, y, x], (0, 0, 1, 0))
        points = self.grid.to_points(torch.stack([x, y], -1)[:, None] + offsets)
        return Poses(points, self.at(heat, points, image), image, score[image, rank])

    def at(self, maps, points, image):
        """The values of maps (B, K, H, W) at the cells nearest to points (P, K, 2) in images (P,): (P, K)."""
        x, y = self.grid.nearest(points).unbind(-1)
        return maps[image[:, None], torch.arange(self.keypoints, device=image.device), y, x]

    def counted(self, sample):
        return sample.annotated & self.grid.contains(sample.keypoints)

    def loss(self, votes, sample):
        counted, people = self.counted(sample), sample.image_index
        maps = self.grid.target(sample.keypoints, self.options.sigma) * counted[..., None, None]
        heat = F.binary_cross_entropy_with_logits(votes.maps, per_image(maps, people, len(sample)), reduction="sum")
        x, y = self.grid.nearest(sample.keypoints[:, 0]).unbind(-1)
        wanted = self.grid.to_cells(sample.keypoints[:, 1:]) - torch.stack([x, y], -1)[:, None]
        away = (votes.extra["offsets"][people, y, x] - wanted).abs().sum(-1) * (counted[:, 1:] & counted[:, :1])
        return {"heat": heat / len(sample), "offsets": 4 * away.sum() / len(sample)}


class Seer(nn.Module):
    """Answers what it was told, batch by batch."""

    single = False

    def __init__(self, *answers):
        super().__init__()
        self.answers = iter(answers)

    def forward(self, sample):
        return next(self.answers)

    def decode(self, votes, sample):
        return votes

    def root_distance(self, votes):
        return None


class Lifter(PoseModel):
    """2D keypoints of five frames to the middle one's in the camera's frame: plain regression."""

    @dataclass(frozen=True)
    class Options(PoseModel.Options):
        input_size: list[int] = option([32, 32], "width, height", low=1, size=2)
        channels: int = option(16, "of the features", low=1)

    reads, space = ("keypoints2d",), CAMERA_MM
    frames, middle, scale = 5, (0.0, 0.0, 4000.0), 500.0

    def __init__(self, keypoints, options):
        super().__init__(keypoints, options)
        depth = Grid((16,), (125.0,), (3062.5,))
        self.grid = Grid((16, 16), (125.0, 125.0), (-937.5, -937.5), depth)
        self.backbone = nn.Sequential(*self.layer(self.frames * keypoints * 3))
        self.head = self.new_head()

    def layer(self, channels):
        return nn.Linear(channels, self.options.channels), nn.BatchNorm1d(self.options.channels), nn.ReLU()

    def new_head(self, layers=None):
        hidden = [self.layer(self.options.channels) for _ in range((layers or self.options.head_layers) - 1)]
        return nn.Sequential(*sum(hidden, ()), nn.Linear(self.options.channels, 3 * self.keypoints))

    def features(self, sample):
        return self.backbone(sample.inputs["keypoints2d"].flatten(1) / self.input_size[0])

    def votes(self, features, sample, head=None):
        where = (self.head if head is None else head)(features).view(-1, 1, self.keypoints, 3) * self.scale
        return Votes(self.grid, torch.zeros_like(where[..., 0]), where + constants(self.middle, where))

    def decode(self, votes, sample):
        return Poses.of_crops(votes.peak(), votes.confidence())

    def counted(self, sample):
        return sample.annotated

    def loss(self, votes, sample):
        away = (votes.mean() - sample.keypoints).abs().mean(-1) / self.scale
        return {"points": (away * self.counted(sample)).mean()}

    def example(self, name, batch):
        return torch.rand(batch, self.frames, self.keypoints, 3) * self.input_size[0]


FIGURE = Skeleton(
    "figure",
    ("pelvis", "chest", "left_elbow", "right_elbow", "left_hand", "right_hand"),
    edges=((0, 1), (1, 2), (1, 3), (2, 4), (3, 5)),
    flip_pairs=((2, 3), (4, 5)),
    groups={"all": (0, 1, 2, 3, 4, 5)},
    root=0,
)


class Recordings(Sequences2D):
    """Recordings of figures that move smoothly before a camera, each of other lengths of bones, as 2D keypoints. The
    other style's camera is longer and looks from above, and its keypoints jump from frame to frame."""

    skeleton = FIGURE
    bones = 450.0, 220.0, 220.0, 280.0, 280.0

    @dataclass(frozen=True)
    class Options(SequenceOptions):
        train: int = option(8, "recordings to train on", low=1)
        test: int = option(4, "recordings to test on", low=1)
        frames: int = option(24, "of a recording", low=1)
        random: int = option(0, "other frames that a sample shows besides", low=0)
        noise: float = option(3.0, "standard deviation of the other style's keypoints, px of 1000", low=0)

    def __init__(self, options, part, style="plain"):
        count, first = (options.train, 0) if part == "train" else (options.test, 10_000)
        name = f"recordings.{style}.{part}"
        made = [self.recording(options, first + index, style == "shifted") for index in range(count)]
        super().__init__(name, FIGURE, made, options, {"name": name, "count": count, "noise": options.noise})

    def recording(self, options, number, shifted):
        rng = np.random.default_rng([number, 17])
        time = np.arange(options.frames)[:, None, None]
        turns = rng.uniform(-1, 1, (2, 5, 3)) * [[[1.0]], [[0.6]]]
        swing = turns[0] + turns[1] * np.sin(time * rng.uniform(0.15, 0.4, (5, 1)) + rng.uniform(0, 6, (5, 1)))
        away = swing + np.array([[0, -3, 0], [2, 0, 0], [-2, 0, 0], [1, 1, -1], [-1, 1, -1]])
        away *= np.array(self.bones)[:, None] * rng.uniform(0.9, 1.1) / np.linalg.norm(away, axis=-1, keepdims=True)
        points = np.zeros((options.frames, 6, 3))
        for (start, end), bone in zip(FIGURE.edges, away.swapaxes(0, 1), strict=True):
            points[:, end] = points[:, start] + bone
        turn = np.deg2rad(rng.uniform(0, 360)) + 0.02 * time[:, 0, 0]
        points = points @ rotations(turn, 1)
        points = points @ rotations(np.full(1, 0.35 if shifted else 0.0), 0) + [0, 0, 3500 if shifted else 4000]
        camera = np.array([1500.0, 1500.0, 500.0, 500.0] if shifted else [1200.0, 1200.0, 500.0, 500.0])
        pixels = points[..., :2] / points[..., 2:] * camera[:2] + camera[2:]
        pixels += rng.normal(0, options.noise if shifted else 0.5, pixels.shape)
        seen = np.concatenate([pixels, np.ones((*pixels.shape[:2], 1))], -1)
        return Recording(f"recording{number}", seen, (1000, 1000), points, camera)


def rotations(angles, axis):
    """Matrices (n, 3, 3) of rows about the x (0) or y (1) axis."""
    made = np.zeros((len(angles), 3, 3))
    one, two = (1, 2) if axis == 0 else (2, 0)
    made[:, axis, axis], made[:, one, one], made[:, two, two] = 1, np.cos(angles), np.cos(angles)
    made[:, one, two], made[:, two, one] = np.sin(angles), -np.sin(angles)
    return made


class BodyLifter(Lifter):
    """2D keypoints of five frames to the middle one's, mm from its root along the camera's axes."""

    space, middle = BODY_MM, (0.0, 0.0, 0.0)

    @dataclass(frozen=True)
    class Options(Lifter.Options):
        input_size: list[int] = option([1000, 1000], "width, height", low=1, size=2)
        channels: int = option(64, "of the features", low=1)

    def __init__(self, keypoints, options):
        super().__init__(keypoints, options)
        depth = Grid((16,), (125.0,), (-937.5,))
        self.grid = Grid((16, 16), (125.0, 125.0), (-937.5, -937.5), depth)

    def features(self, sample):
        places, sure = sample.inputs["keypoints2d"].tensor_split([2], -1)
        root = places[:, self.frames // 2, None, :1]
        return self.backbone(torch.cat([(places - root) / (0.1 * self.input_size[0]), sure], -1).flatten(1))

    def votes(self, features, sample, head=None):
        votes = super().votes(features, sample, head)
        return replace(votes, where=votes.where - votes.where[:, :, :1])


class TopDown(BottomUp):
    """Heatmaps of one person: the smallest network of the usual form."""

    single = True

    def decode(self, votes, sample):
        return Poses.of_crops(votes.peak(), votes.confidence())

    def loss(self, votes, sample):
        target = self.grid.target(sample.keypoints, self.options.sigma)
        return {"heat": spatial_kl(votes.log_density()[sample.image_index], target, self.counted(sample))}


class Tiny(nn.Module):
    """A backbone that takes milliseconds."""

    stride, channels = 4, 24

    def __init__(self):
        super().__init__()
        layers = []
        for inputs, side, stride in ((3, 5, 2), (24, 5, 2), (24, 3, 1)):
            layers += [nn.Conv2d(inputs, 24, side, stride, side // 2, bias=False), nn.BatchNorm2d(24), nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, image):
        return self.layers(image)


class Shallow(nn.Module):
    """The backbone `small` with a convolution where that has blocks: what exporters do takes as long as a network has
    layers."""

    stride, channels = 8, 32

    def __init__(self):
        super().__init__()
        self.stem, *levels = (
            nn.Sequential(nn.Conv2d(inputs, 32, 3, stride, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
            for inputs, stride in ((3, 4), (32, 2), (32, 1))
        )
        self.levels = nn.Sequential(*levels)

    def forward(self, image):
        return self.levels(self.stem(image))


class ClipNet(TopDown):
    """The same of the middle frame, from all frames of a clip."""

    frames = 3

    def __init__(self, keypoints, options):
        super().__init__(keypoints, options)
        self.backbone = nn.Sequential(*self.layer(9, 2), *self.layer(options.channels))

    def features(self, sample):
        return self.backbone(normalize(sample.image).flatten(1, 2))


class Surer(Strategy):
    """Wang et al., ICLR 2021, over the whole network: what the target's votes say becomes surer."""

    @dataclass(frozen=True)
    class Options(Options):
        weight: float = option(1.0, "of the entropy", low=0)

    title = "Surer"
    about = "entropy minimisation on the target alone"
    kind = "source_free"
    needs = frozenset({"target"})

    def step(self, source, target):
        with self.statistics("target"):
            densities = self.model(target).log_densities()
        entropy = torch.stack([-(each.exp() * each).flatten(2).sum(-1).mean() for each in densities]).sum()
        yield {"entropy": self.options.weight * entropy}, ("model",)


class Relabel(Strategy):
    """Trains on its own predictions, made anew for the whole target at the beginning of each round."""

    @dataclass(frozen=True)
    class Options(Options):
        length: int = option(2, "iterations of a round", low=1)
        least: float = option(0.0, "confidence of a pseudo label", low=0, high=1)
        sigma: float = option(1.0, "of the Gaussians at pseudo labels, cells", low=0.1)

    title = "Relabel"
    about = "rounds of pseudo labels"
    kind = "source_free"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.bank = Bank()

    def round_length(self):
        return self.options.length

    def begin_round(self, target):
        self.bank.keep(target.predict(), len(target.dataset))

    def step(self, source, target):
        with self.statistics("source"):
            losses = self.supervised(source)
        poses = self.bank.of(target, self.skeleton.flip)
        with self.statistics("target"):
            votes = self.model(target)
        keep = (poses.confidence >= self.options.least) & votes.grid.contains(poses.points)
        pseudo = drawn_to(votes, poses.points, keep, poses.image_index, self.options.sigma)
        yield losses | {"pseudo": pseudo}, ("model",)


SETS = {
    f"{kind.__name__.lower()}.{style}": Data(partial(kind, style=style), kind.Options)
    for kind in (Scenes, Sequences, Clips, Persons, Sketches, Walks, Recordings)
    for style in ("plain", "shifted")
}
"""Lines of the registries."""
SYSTEMS = {"bottom_up": BottomUp, "lifter": Lifter, "clip_net": ClipNet, "body_lifter": BodyLifter}
METHODS = {"surer": Surer, "relabel": Relabel}


def register(put):
    for registry, entries in ((DATASETS, SETS), (MODELS, SYSTEMS), (STRATEGIES, METHODS)):
        for name, entry in entries.items():
            put(registry, name, entry)


def trainer_of(strategy, sides, folder, steps, size, augmentation):
    """A trainer as a run makes it, with batches of 4 of both sides, datasets by domain; it logs and keeps each step."""
    cut = 0, 4, size, augmentation
    labels = {"source": True, "target": strategy.labelled_target}
    batches = {d: TrainingBatches(data, d, *cut, labels[d], strategy.views[d]) for d, data in sides.items()}
    folder.mkdir(exist_ok=True)
    return Trainer(
        Fabric(accelerator="cpu", devices=1),
        strategy,
        batches,
        folder,
        Loop(steps, log_every=1, checkpoint_every=1),
        0,
        target=lambda model: everyone(model, sides["target"], 4, size, augmentation, torch.device("cpu")),
    )
