"""What a run works on: its four datasets, paired by keypoint name, and whether system and data fit."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ...adapt.scoring.evaluation import check_mirrored
from ...adapt.strategies import STRATEGIES
from ...adapt.strategy import Strategy, files, frames_of, lacking
from ...datasets.depth.center_task import CENTER
from ...datasets.depth.files import sha256
from ...datasets.depth.sets import other_settings
from ...datasets.doubts import gathered
from ...datasets.loading import EvaluationBatches, Kept, collate, crop, first_item
from ...datasets.mixed import Mixed
from ...datasets.options import FILE, Options, tagged
from ...datasets.own.depth_folder import DepthFolder
from ...datasets.own.pictures import Options as OwnPictures
from ...datasets.own.skeleton_file import side_doubts
from ...datasets.proposals import Proposals, open_proposals
from ...datasets.reading.files import from_home
from ...datasets.reading.images import UnreadableImage
from ...datasets.reading.intrinsics import ASSUME
from ...datasets.reading.origin import MissingData
from ...datasets.reading.people import LEAKS, WHOLE, PictureSet
from ...datasets.sample import BODY_MM, ROOT_MM, PoseDataset
from ...datasets.sensor import Sensor
from ...datasets.skeleton import Skeleton, pair
from ...datasets.views import InSpace, Selected, WithoutLabels, as_clips, cameras_of, innermost, spread
from ...models.pose_model import PoseModel
from ...models.saved import MODELS, load_model
from ..config import Chosen, Config
from ..tracking.records import FILES
from .centers import open_centered
from .device import choose_device
from .folder import locate, world_size

UNKNOWN = Skeleton("unknown", ("",))
"""Of a network that is built before the data says its keypoints."""
AT_ONCE = 64
"""Samples of a batch in evaluation, at most."""
MOST_CELLS = 2**27
"""Numbers that the votes for a batch have in evaluation at most, where that leaves a sample: half a GB."""
SENSED = 128
"""Crops of each domain that a sensor is estimated from."""


@dataclass
class Task:
    """A configuration with its datasets, paired by keypoint name."""

    config: Config
    skeleton: Skeleton
    left_out: list[str]
    target_train: PoseDataset | None = None
    """None where the source alone is trained and scored on."""
    target_test: PoseDataset | None = None
    source_train: PoseDataset | None = None
    """None where no strategy needs a source."""
    source_test: PoseDataset | None = None
    notes: list[str] = field(default_factory=list)
    """What may be wrong with the data and may not."""

    @property
    def size(self) -> tuple[int, int]:
        width, height = self.config.model.options.input_size
        return width, height

    @cached_property
    def start(self) -> Path | None:
        """The weights that the run starts from, where they are given."""
        return None if self.config.start is None else locate(Path(self.config.start))[0]

    @property
    def mirror(self) -> list[int] | None:
        """The permutation of keypoints in mirror images, where answers are to be the mean over those too."""
        return self.skeleton.flip if self.config.flip_test else None

    def batches(self, dataset: PoseDataset) -> EvaluationBatches:
        """A dataset in its order, as the network sees it."""
        chosen = self.config.model
        count = at_once(MODELS[chosen.name], chosen.options, len(self.skeleton))
        return EvaluationBatches(dataset, count, self.size, self.config.crop)

    @cached_property
    def sensor(self) -> Sensor | None:
        """What makes source samples look as if the target's sensor had taken them, where the configuration asks for it.
        Raises ValueError where there are no pictures, or too few."""
        share = self.config.sensor
        return Sensor.between(*self.looks(SENSED), share) if share > 0 else None

    @cached_property
    def proposals(self) -> Proposals | None:
        """How another detector's boxes differ from the true ones, where source samples are to be cut so."""
        name = self.config.proposals
        return None if name is None else open_proposals(name, self.skeleton.keypoints)

    def sensor_of(self, strategy: str) -> Sensor | None:
        """The sensor by which a strategy's source samples are shown, where it trains on source and target."""
        return self.sensor if sees_both(strategy) else None

    def looks(self, most: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Up to `most` plain crops of the source's training samples and of the target's: pictures (H, W, 3) uint8, or
        depth (H, W) mm."""
        assert self.source_train is not None
        assert self.target_train is not None
        return self._looks(self.source_train, most), self._looks(self.target_train, most)

    def _looks(self, dataset: PoseDataset, most: int) -> list[np.ndarray]:
        some = spread(WithoutLabels(dataset), most)
        batches = (self.batches(some)[number] for number in range(len(self.batches(some))))
        images = [image.numpy() for batch in batches if "image" in batch.inputs for image in batch.image]
        if not images:
            raise ValueError(f"sensor={self.config.sensor:g} is of pictures and depth frames; {dataset.name} has none")
        frames = [image[0] if image.ndim == 4 else image for image in images]  # of a clip the first
        return [frame[0] if len(frame) == 1 else np.moveaxis(frame, 0, -1) for frame in frames]

    def identity(self) -> dict[str, Any]:
        parts = {name: getattr(self, name) for name in PARTS}
        return {name: dataset.identity for name, dataset in parts.items() if dataset is not None}

    def test_sets(self) -> dict[str, PoseDataset]:
        """What is evaluated on, by side."""
        sets = {"source": self.source_test, "target": self.target_test}
        return {side: dataset for side, dataset in sets.items() if dataset is not None}

    @cached_property
    def held_out(self) -> dict[str, Kept]:
        """What is evaluated on, by side and in batches: cut once for all evaluations of all runs."""
        return {side: Kept(self.batches(dataset)) for side, dataset in self.test_sets().items()}

    @property
    def judged(self) -> str:
        """The side that results are of: target, or source where it is alone."""
        return "source" if self.target_test is None else "target"

    @property
    def target(self) -> tuple[PoseDataset, PoseDataset]:
        """Its two parts, where there is a target."""
        assert self.target_train is not None
        assert self.target_test is not None
        return self.target_train, self.target_test

    @property
    def target_options(self) -> Options:
        """Its options, where there is a target."""
        assert self.config.target is not None
        return self.config.target.options

    def describe(self) -> Iterator[str]:
        """What a user should know before it starts: sizes, leaks, licences, keypoints that are left out."""
        config, source = self.config, self.source_train
        origin = f"{config.source.name} ({len(source)} labelled)" if source is not None else "a given model"
        if config.target is None:
            goal = f" alone ({len(self.source_test or ())} to test), no target is given"
        else:
            train, test = self.target
            goal = f" -> {config.target.name} ({len(train)} unlabelled, {len(test)} to test)"
        yield f"{config.name}: {origin}{goal}, {len(self.skeleton)} keypoints"
        for dataset, keys in ((source, ("centers",)), (self.target_train, ("centers", "boxes"))):
            if dataset is None:
                continue
            for key in keys:
                if dataset.identity.get(key) in LEAKS:
                    leak = f"{key}={dataset.identity[key]}"
                    yield f"leak: {dataset.name} is cut around its true joints ({leak}), in training and test"
        sides = [(d.name, d.identity) for d in (source, self.target_train) if d is not None]
        if config.beside is not None and source is not None:
            yield f"beside the source, half of its samples: {config.beside.name}"
            sides.insert(1, (config.beside.name, source.identity["beside"]))
        licensed = [(name, identity["licence"]) for name, identity in sides if "licence" in identity]
        yield from dict.fromkeys(f"licence of {name}: {licence}" for name, licence in licensed)
        if self.left_out:
            yield f"left out, because only one side has them: {', '.join(self.left_out)}"
        yield from (f"note: {note}" for note in self.notes)
        yield from self.sensed()

    def sensed(self) -> Iterator[str]:
        """What was estimated of both sensors, where the configuration asks for it."""
        if self.sensor is not None:
            yield from (f"sensor: {line}" for line in self.sensor.lines())


def at_once(kind: type[PoseModel], options: Any, keypoints: int) -> int:
    """Samples of a batch in evaluation: of networks whose answers are volumes fewer than of others."""
    return max(1, min(AT_ONCE, MOST_CELLS // max(kind.vote_cells(options, keypoints), 1)))


PARTS = ("source_train", "source_test", "target_train", "target_test")


def needs_source(config: Config, strategies: Sequence[str]) -> bool:
    """Whether any of the strategies trains or is measured on the source, or starts from pretraining on it."""
    kinds = [STRATEGIES[name] for name in strategies]
    return config.start is None or any("source" in kind.needs or kind.labelled_target for kind in kinds)


def prepare(config: Config, strategies: Sequence[str], training: bool = True) -> Task:
    """Open the data and check that everything fits, before anything is written. Raises ValueError.

    The keypoints are those of the network that the run starts from; else the ones that both sides have.
    """
    any_keypoints = MODELS[config.model.name].any_keypoints
    model = build_model(config.model, UNKNOWN, weights=False) if any_keypoints else None  # sizes, before data is read
    choose_device(config.device)
    check_target(config, strategies)
    check_required(config, strategies)
    check_frozen(config)
    if training:
        check_sensor(config, strategies)
    processes = world_size()
    if config.batch % processes:
        raise ValueError(f"batch={config.batch} does not divide among {processes} processes; choose a multiple")
    given = None
    if config.start is not None:
        network, given = load_model(locate(Path(config.start))[0])
        network.resumed(config.model.options)  # says what does not fit
    opened = open_sides(config, needs_source(config, strategies), given)
    notes = say_doubts(opened.values())
    if training:
        notes += [remark for name in strategies for remark in STRATEGIES[name].remarks(config.method(name))]
    say_settings(config, opened)
    skeleton, left_out = paired(opened, None if given is None else given.keypoints)
    skeleton = MODELS[config.model.name].learns(skeleton)
    if training:
        check_mirroring(config, skeleton)
    if model is None or (training and config.model.options.weights is not None and config.start is None):
        model = build_model(config.model, skeleton, weights=training)
    else:
        model.know(skeleton)
    if config.flip_test:
        check_mirrored(model)
    for name, dataset in opened.items():
        if len(dataset) < processes:
            raise ValueError(
                f"{dataset.name} has {len(dataset)} samples for {processes} processes; start fewer processes"
            )
        opened[name] = seen_by(type(model), dataset, skeleton, model.frames)
    check_deep(model, opened.get("source_train"))
    for part, dataset in opened.items():
        check_fits(config, model, dataset, part.partition("_")[0])  # renders what is not cached yet
        if part != "source_train":  # labels without a camera teach no distance
            check_cameras(model, dataset)
    if training and any(STRATEGIES[name].labelled_target for name in strategies):
        check_labels(opened["target_train"])
    if training:
        check_suits(config, strategies, model, opened.get("target_train"))
        check_proposals(config.proposals, skeleton, opened.get("source_train"))
        check_files(config, strategies, model, skeleton, "source_train" in opened)
    return Task(config, skeleton, left_out, **opened, notes=notes)


def say_settings(config: Config, opened: dict[str, PoseDataset]) -> None:
    """Warns of public depth sets that are not cut as the reference which `crop` follows."""
    for side in ("source", "target"):
        dataset = opened.get(f"{side}_train")
        if dataset is None or dataset.skeleton.keypoints == CENTER.keypoints or "cube" not in dataset.identity:
            continue
        text = other_settings(config.crop, str(dataset.identity["name"]), dataset.identity["cube"], side)
        if text:
            warnings.warn(text, stacklevel=3)


def say_doubts(datasets: Iterable[PoseDataset]) -> list[str]:
    """Warns of what seems wrong with the datasets, and gives what may also be right."""
    said = gathered((dataset.name, dataset) for dataset in datasets)
    for doubt, names in said.items():
        if doubt.problem:
            warnings.warn(f"{names}: {doubt.text}", stacklevel=3)
    return [f"{names}: {doubt.text}" for doubt, names in said.items() if not doubt.problem]


def check_target(config: Config, strategies: Sequence[str], what: str = "") -> None:
    """Raises ValueError where no target is said, and a strategy, the selection or `what` is done needs one."""
    needing = [name for name in strategies if STRATEGIES[name].needs != {"source"}]
    needing += [f"selection={config.selection}"] if config.selection in ("target_score", "oracle") else []
    if config.target is None and (needing or what):
        raise ValueError(
            f"no target is said, and {', '.join(needing) or what} cannot do without: say target.name=NAME and its "
            "options, target.root=FOLDER say (keyshift options). To train on the source alone: keyshift train, "
            "strategy=source_only"
        )


def check_required(config: Config, strategies: Sequence[str]) -> None:
    """Raises ValueError where a strategy requires a file that is not said."""
    for name in strategies:
        missing = lacking(name, STRATEGIES[name], config.method(name))
        if missing:
            raise ValueError(
                f"{name} needs {STRATEGIES[name].besides}: say {' '.join(f'{key}FILE' for key in missing)}"
            )


def check_suits(config: Config, strategies: Sequence[str], model: PoseModel, target: PoseDataset | None) -> None:
    """Raises ValueError where a strategy is not made for the system, and where one reads clips of a target without
    neighbours."""
    for name in strategies:
        kind = STRATEGIES[name]
        kind.check(model)
        clip = kind.windows(config.method(name))
        if clip > 1 and target is not None:
            as_clips(target, frames_of(model, clip))


def check_frozen(config: Config) -> None:
    """Raises ValueError where weights that are random would stay as they are."""
    freezes = config.model.options.freezes
    if freezes and config.start is None:
        raise ValueError(
            f"model.{freezes} freezes weights that are random: say model.weights or start, or leave "
            f"model.{freezes.partition('=')[0]} out"
        )


def sees_both(strategy: str) -> bool:
    """Whether a strategy trains on the labelled source and on the target's pictures."""
    return STRATEGIES[strategy].needs >= {"source", "target"}


def check_sensor(config: Config, strategies: Sequence[str]) -> None:
    """Raises ValueError where the source is to be shown as the target's sensor would, to no strategy."""
    if config.sensor > 0 and not any(map(sees_both, strategies)):
        raise ValueError(
            f"sensor={config.sensor:g} shows labelled source samples as the target's sensor would; "
            f"{', '.join(strategies)} trains on no source beside a target. Leave sensor at 0, or choose a strategy "
            "that needs both (keyshift strategies)"
        )


def check_proposals(name: str | None, skeleton: Skeleton, source: PoseDataset | None) -> None:
    """Raises ValueError where the source's samples cannot be cut by the proposals `name`: where none is opened, of
    depth and in the camera's frame, of several people at once, and of other keypoints. None: by their own boxes."""
    if name is None:
        return
    if source is None:
        raise ValueError(
            f"proposals={name} cuts labelled source samples, and this run opens no source: leave it out, or choose a "
            "strategy that needs one (keyshift strategies)"
        )
    check_cut(f"proposals={name}", source)
    open_proposals(name, skeleton.keypoints)


def check_cut(what: str, dataset: PoseDataset) -> None:
    """Raises ValueError for data that is not cut around one person or hand of two keypoints or more."""
    item = first_item(dataset)
    if item.depth or item.in_camera or item.keypoints.ndim == 3 or len(dataset.skeleton) < 2:
        raise ValueError(
            f"{what} is of pictures that are cut around one person or hand of two keypoints or more; the samples of "
            f"{dataset.name} are not"
        )


def check_files(config: Config, strategies: Sequence[str], model: PoseModel, skeleton: Skeleton, source: bool) -> None:
    """Builds for a trial each strategy that reads files or looks at the source, which may not be open, so that what it
    refuses is said before anything is written. Raises ValueError."""
    for name in strategies:
        kind, options = STRATEGIES[name], config.method(name)
        looks = kind.see_source is not Strategy.see_source
        if looks or files(name, options):
            trial = kind(deepcopy(model), skeleton, config.optimization, options=options)
            if looks and not source:
                trial.see_source(None)


def files_of(config: Config, strategies: Sequence[str]) -> dict[str, dict[str, str]]:
    """What identity.json says of the files that the run's and the strategies' options name: their SHA-256 by option,
    under `files`; nothing where there are none."""
    named = {key: path for name in strategies for key, path in files(name, config.method(name)).items()}
    named |= {key: from_home(path) for key in tagged(Config, FILE) if (path := getattr(config, key)) is not None}
    sums = {key: sha256(path) for key, path in named.items() if path.is_file()}
    return {FILES: sums} if sums else {}


def seen_by(kind: type[PoseModel], dataset: PoseDataset, skeleton: Skeleton, frames: int = 0) -> PoseDataset:
    """A dataset with the keypoints of a skeleton, in the coordinates in which a system sees people, and in clips of
    `frames` frames; 0: single ones. Raises ValueError where such a system would count from another root than the
    dataset's, and for a dataset of which nothing follows anything."""
    inner = innermost(dataset)
    pictures = isinstance(inner, PictureSet) and "image" not in kind.reads
    if frames and hasattr(inner, "clips") and not pictures:  # else the network says that they do not fit
        try:
            dataset = as_clips(dataset, frames)
        except ValueError as error:
            raise ValueError(f"{kind.__name__} reads clips of {frames} frames; {error}") from error
    if dataset.skeleton.keypoints != skeleton.keypoints:
        dataset = Selected(dataset, skeleton.keypoints)
    if not (kind.in_space() or kind.space == BODY_MM):
        return dataset
    own, wanted = dataset.skeleton.root, skeleton.root
    if own is not None and wanted is not None and own != wanted:
        raise ValueError(
            f"{kind.__name__} counts from the root {skeleton.keypoints[wanted]!r}; that of {dataset.name} is "
            f"{skeleton.keypoints[own]!r}. Both sides need the same root: say root= in a skeleton's YAML"
        )
    return InSpace(dataset, kind.space == ROOT_MM) if kind.in_space() else dataset


def with_camera(options: Options, kind: type[PoseModel]) -> Options:
    """The options of a dataset that a system is to read: your own pictures without a stated camera get the assumed one
    where it reads a camera."""
    if not isinstance(options, OwnPictures) or "k" not in kind.reads:
        return options
    stated = options.camera is not None or options.focal is not None
    return options if stated else replace(options, camera=ASSUME)


def with_crops(options: Options, kind: type[PoseModel]) -> Options:
    """The options of a dataset that a system is to read: where they do not say what a sample is, a whole picture for a
    system that finds people in it."""
    unsaid = getattr(options, "crops", WHOLE) is None
    changes: dict[str, Any] = {"crops": WHOLE} if unsaid and not kind.single else {}
    return replace(options, **changes)


def build_model(chosen: Chosen, skeleton: Skeleton, weights: bool = True) -> PoseModel:
    """A fresh network for the keypoints of a skeleton; with the weights that its options name, a run's folder among
    them, or random."""
    named = chosen.options.weights if weights else None
    if named is not None and from_home(named).is_dir():
        named = str(locate(from_home(named))[0])
    options = replace(chosen.options, weights=named)
    model = MODELS[chosen.name](len(skeleton), options).know(skeleton)
    return model.with_adapters(options.adapters)


def open_sides(config: Config, source: bool, given: Skeleton | None) -> dict[str, PoseDataset]:
    """The datasets, source_train to target_test. A target without labels takes the source's skeleton, and without a
    source that of the given network. Raises MissingData that tells of both sides."""
    opened: dict[str, PoseDataset] = {}
    missing: list[MissingData] = []
    kind = MODELS[config.model.name]
    for side in ("source", "target") if source else ("target",):
        if side == "target" and config.target is None:
            continue
        own = given if not source else None
        if source and side == "target" and not missing:
            own = opened["source_train"].skeleton
        chosen: Chosen = getattr(config, side)
        try:
            for part in ("train", "test"):
                options = with_crops(with_camera(chosen.options, kind), kind)
                opened[f"{side}_{part}"] = open_centered(chosen.name, options, part, own, config.device)
            if side == "source" and config.beside is not None:
                options = with_crops(config.beside.options, kind)
                second = open_centered(config.beside.name, options, "train", None, config.device)
                opened["source_train"] = Mixed(opened["source_train"], second)
        except MissingData as error:
            missing.append(error)
        except ValueError:
            if not missing:  # what is wrong with the target may follow from the source that is not there
                raise
    if missing:
        raise MissingData("\n".join(dict.fromkeys(map(str, missing))))
    return opened


def paired(opened: dict[str, PoseDataset], keypoints: tuple[str, ...] | None) -> tuple[Skeleton, list[str]]:
    """The skeleton of the run, and the names that only one side has. Raises ValueError where the given network predicts
    what the data does not have."""
    sides = [opened[name].skeleton for name in ("source_train", "target_train") if name in opened]
    skeleton, left_out = pair(sides[0], sides[-1])
    if keypoints is None:
        return skeleton, left_out
    lacking = [name for name in keypoints if name not in skeleton.keypoints]
    if lacking:
        names = " and ".join(dict.fromkeys(d.name for n, d in opened.items() if n.endswith("train")))
        raise ValueError(
            f"the network predicts {', '.join(lacking)}, which {names} do not both have: choose the source it was "
            "trained on"
        )
    return skeleton.select(keypoints), [name for name in skeleton.keypoints if name not in keypoints]


def check_fits(config: Config, model: PoseModel, dataset: PoseDataset, side: str) -> None:
    """Raises ValueError where the network cannot read what the dataset of a `side` gives, or answers with one person
    where there are several."""
    item = first_item(dataset)
    if config.crop != "exact" and not item.depth:
        raise ValueError(f"crop={config.crop} is of depth; {dataset.name} gives pictures")
    cut = crop(item, model.input_size, None, None, dataset.skeleton.flip, config.crop)
    cube = None if config.start is None else f"{side}.cube"
    model.check(collate([cut], labels=False), dataset.name, cube)
    if model.single and item.keypoints.ndim == 3:
        raise ValueError(
            f"{type(model).__name__} answers each picture with one person; {dataset.name} gives pictures of several. "
            "Choose a system that finds them, or data that is cut to one"
        )


def check_deep(model: PoseModel, source: PoseDataset | None) -> None:
    """Raises ValueError where a system of people in space would learn from a source without 3D points."""
    if source is None or not isinstance(source, InSpace):
        return
    items = []
    for row in spread(source, 20).rows:
        with suppress(UnreadableImage):
            items.append(source[row])
    if items and not any(item.deep is not None and item.deep.any() for item in items):
        raise ValueError(
            f"{type(model).__name__} learns distances in mm; {source.name} has 2D keypoints alone. Choose a source "
            "with 3D points in the camera's frame, and say the 2D set beside it: beside.name=NAME"
        )


def check_cameras(model: PoseModel, dataset: PoseDataset) -> None:
    """Raises ValueError where a system that reads cameras would be shown a sample without one: it would answer 0."""
    cameras = cameras_of(dataset) if "k" in model.reads else None
    if cameras is None:
        return
    blind = np.flatnonzero(~(cameras[:, :2] > 0).all(1))
    for row in blind.tolist():
        with suppress(UnreadableImage):  # own pictures that cannot be read have no camera, and are left out
            raise ValueError(
                f"{type(model).__name__} reads image and camera; {len(blind)} of {len(dataset)} samples of "
                f"{dataset.name} have no camera, {dataset[row].id!r} first. Say what their focal length is, or leave "
                "them out"
            )


def check_mirroring(config: Config, skeleton: Skeleton) -> None:
    """Says which keypoints a mirrored picture would name wrongly, as far as names tell. Raises ValueError where
    pictures are to be mirrored all the same."""
    augmentation, doubts = config.augmentation, side_doubts(skeleton)
    if skeleton.unpaired and config.flip_test and not augmentation.mirror_unpaired:
        raise ValueError(f"flip_test looks at mirror images: {doubts[0]}. Or set flip_test=false")
    if skeleton.unpaired and augmentation.mirror > 0 and not augmentation.mirror_unpaired:
        raise ValueError(
            f"augmentation.mirror={augmentation.mirror:g}: {doubts[0]}. Or set augmentation.mirror=0, or, where a "
            "mirrored picture may keep these names, augmentation.mirror_unpaired=true"
        )
    for doubt in doubts if augmentation.mirror > 0 else doubts[: bool(skeleton.unpaired)]:
        warnings.warn(f"{skeleton.name}: {doubt}", stacklevel=3)


def check_labels(dataset: PoseDataset) -> None:
    """Raises ValueError for an oracle without labels."""
    if not has_labels(dataset):
        raise ValueError(f"{dataset.name} has no labels, so there can be no oracle: leave it out of strategies=[...]")


def has_labels(dataset: PoseDataset) -> bool:
    """Whether a dataset says where any keypoint is; where no table says it, 20 frames spread over it are tried."""
    base = innermost(dataset)
    if isinstance(base, PictureSet):
        return bool(base.people.annotated.any())
    if isinstance(base, DepthFolder):
        return base.labelled
    for index in range(0, len(dataset), -(-len(dataset) // 20)):
        with suppress(UnreadableImage):
            if dataset[index].annotated.any():
                return True
    return False
