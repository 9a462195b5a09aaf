"""The whole configuration: typed defaults, a YAML over them, key=value over that. Nothing else configures a run."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

import yaml
from omegaconf import ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ..adapt.batch_norm import POLICIES
from ..adapt.methods.mean_teacher import MeanTeacherOptions
from ..adapt.methods.pseudo_labels import VARIANTS
from ..adapt.methods.regda import RegDAOptions
from ..adapt.scoring.selection import RULES
from ..adapt.strategies import STRATEGIES
from ..adapt.strategy import Optimization
from ..datasets.augment import Augmentation
from ..datasets.depth.crop import CROPS

SHIPPED = Path(__file__).parent


@dataclass
class Data:
    """A dataset by name. Each takes some of these options, and refuses the others where they are set; how much is
    rendered means nothing to sets that are not."""

    name: str = "hands.studio"
    root: str | None = None  # folder of a real set, raw or prepared; of background pictures for hands.photo
    boxes: str | None = None  # null: the set's own; whole; truth, tllib (leaks on a target); a file; a detector's name
    split: str | None = None  # frames: single frames at random, as TLLib does (a leak); null: keeps neighbours together
    train: int = 2000  # of rendered sets, as the three below
    test: int = 500
    size: int = 128  # side of rendered pictures, pixels; prepare: side of the crops it keeps
    scenes: int = 0  # seed of the rendered scenes
    block: int = 20  # frames in a block of a real set's split
    labels: Any = None  # coco_json: a COCO keypoint file, or [train, test]
    skeleton: str | None = None  # of labels and folders: a skeleton's name, or a YAML with its names and pairs
    stride: int | None = None  # of recordings: every how many-th frame; null: the set's own
    duplicates: float | None = None  # videos: frames that differ less than this from the one before are skipped
    version: str | None = None  # freihand: gs, hom, sample, auto or all
    protocol: int = 2  # human36m: 1 or 2
    shoulders: str = "smpl"  # surreal: or collar, the reference's
    centers: str | None = None  # the set's own; a centre file or a run that predicts them; threshold; truth (a leak)
    joints: str = "all"  # or center: their mean alone, for a network that predicts centres
    cube: Any = None  # edge in mm of what is cut out, or [x, y, z]; null: the set's own
    subject: int = 0  # msra: the subject that is left out for the test


@dataclass
class A2JOptions:
    depth: bool = True  # false: (x, y) alone
    spatial: float = 0.5  # the paper's alpha; 1 for ITOP
    regression: float = 3.0  # the paper's lambda
    smooth_depth: bool = True  # false: the released code's plain L1
    mean: float = -0.66877532422628  # mm, of NYU's crops
    std: float = 28.329582076876047
    depth_reach: float = 150.0  # mm on either side of the centre that densities of depth cover


@dataclass
class AWROptions:
    downsample: int = 2  # input pixels in a cell of the maps
    form: str = "offset"  # offset, heatmap, pose or regress: the paper's ablation
    kernel: float | None = None  # null: 0.4 for hourglasses, 0.8 else
    losses: str = "dense_then_joint"  # or dense, joint
    dense_steps: int = 0  # updates before the joint loss takes over
    dense_weight: float = 1.0
    joint_weight: float = 1.0
    every_stack: bool = True  # false: the last stack alone, as the reference trains
    depth_reach: float = 150.0


@dataclass
class OwnOptions:
    """A network of yours; models/systems/own.py explains each."""

    file: str = ""  # Python file that holds it
    object: str = ""  # a torch.nn.Module's class, or a function annotated `-> nn.Module`
    arguments: dict[str, Any] = field(default_factory=dict)
    weights: str | None = None  # a state_dict of it
    gives: str = "heatmaps"  # heatmaps, coordinates or offsets
    head: str | None = None  # dotted name of the last operation; null: the last child
    normalize: str = "imagenet"  # how uint8 becomes float: imagenet, unit or none
    scale: float = 1.0  # of heatmaps and responses before the softmax
    unit: str = "pixels"  # of coordinates: pixels of the input, or unit: 0..1


@dataclass
class Model:
    """The network. `heatmap_size`, `sigma` and `reference` are pose_resnet's."""

    name: str = "pose_resnet"  # own: a network of yours; or a2j, awr: of depth
    backbone: str = "resnet18"
    weights: str | None = None  # torchvision's name (IMAGENET1K_V1), a local state_dict, or null
    input_size: list[int] = field(default_factory=lambda: [256, 256])  # width, height
    heatmap_size: list[int] = field(default_factory=lambda: [64, 64])
    channels: int = 256
    head_layers: int | None = None  # convolutions of the head; null: the system's own number
    sigma: float = 2.0  # cells
    reference: bool = False  # TLLib's rounded labels and grid, for comparison
    a2j: A2JOptions = field(default_factory=A2JOptions)
    awr: AWROptions = field(default_factory=AWROptions)
    own: OwnOptions = field(default_factory=OwnOptions)


@dataclass
class Report:
    pictures: str = "all"  # all, blurred or none


@dataclass
class Config:
    name: str = "experiment"
    source: Data = field(default_factory=Data)
    target: Data = field(default_factory=lambda: Data(name="hands.webcam"))
    model: Model = field(default_factory=Model)
    strategy: str = "regda"  # of `train`
    strategies: list[str] = field(default_factory=lambda: ["source_only", "bn_control", "regda", "oracle"])
    seed: int = 0  # of `train`
    seeds: Any = 3  # of `compare`: how many, or a list
    batch: int = 32  # of each domain, over all processes
    pretrain_steps: int = 1000  # on the source, shared by all strategies of a seed
    steps: int = 1000  # of each strategy after it
    pretrain: Optimization = field(default_factory=lambda: Optimization(factors={"backbone": 0.1}, gamma=0.0))
    optimization: Optimization = field(default_factory=Optimization)
    batch_norm: str = "target"  # target, both or reference: which passes move the running statistics
    augmentation: Augmentation = field(default_factory=Augmentation)
    crop: str = "exact"  # of depth: exact, or a reference's chain: a2j, awr
    regda: RegDAOptions = field(default_factory=RegDAOptions)
    mean_teacher: MeanTeacherOptions = field(default_factory=MeanTeacherOptions)
    threshold: float = 0.1  # of PCK, share of the crop's side
    selection: str = "last"  # last, source, target_score, or oracle (uses target labels)
    log_every: int = 20
    evaluate_every: int = 100
    checkpoint_every: int = 100
    workers: int = 0
    device: str = "auto"  # auto, cpu, cuda
    precision: str = "32-true"  # or bf16-mixed
    channels_last: bool = False
    tracking: str | None = None  # MLflow URI; null: mlflow.db beside the runs; off: none
    report: Report = field(default_factory=Report)


FREE = {"workers", "device", "tracking", "log_every", "report", "strategies", "seeds"}
"""Keys that may differ when a run folder is continued: they do not change a run's numbers."""


RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("batch", "steps", "log_every", "evaluate_every", "checkpoint_every"), (1, inf)),
    **dict.fromkeys(("source.train", "source.test", "source.block", "regda.warmup", "regda.head_layers"), (1, inf)),
    **dict.fromkeys(("target.train", "target.test", "target.block", "model.channels", "model.head_layers"), (1, inf)),
    **dict.fromkeys(("model.input_size", "model.heatmap_size"), (1, 8192)),
    **dict.fromkeys(("source.size", "target.size"), (16, 4096)),
    **dict.fromkeys(("source.stride", "target.stride"), (1, 1e6)),
    **dict.fromkeys(("source.duplicates", "target.duplicates"), (0, 255)),
    **dict.fromkeys(("source.protocol", "target.protocol"), (1, 2)),
    **dict.fromkeys(("source.cube", "target.cube"), (1, 1e5)),
    **dict.fromkeys(("source.subject", "target.subject"), (0, 8)),
    **dict.fromkeys(
        ("model.a2j.std", "model.a2j.depth_reach", "model.awr.depth_reach", "model.awr.kernel"), (1e-3, 1e5)
    ),
    **dict.fromkeys(("pretrain_steps", "workers", "seed", "source.scenes", "target.scenes"), (0, 2**31)),
    **dict.fromkeys(
        ("pretrain.rate", "optimization.rate", "regda.margin", "regda.trade_off", "regda.highest"), (0, inf)
    ),
    **dict.fromkeys(("model.sigma", "regda.sigma", "mean_teacher.sigma"), (0.1, 100)),
    **dict.fromkeys(("augmentation.color", "augmentation.noise", "augmentation.mirror", "augmentation.erase"), (0, 1)),
    **dict.fromkeys(("mean_teacher.decay", "mean_teacher.masked"), (0, 1)),
    "augmentation.rotation": (0, 180),
    "augmentation.blur": (0, 100),
    "threshold": (1e-6, 10),
}
"""Lowest and highest value of each number that has limits."""


def shipped() -> dict[str, Path]:
    """The experiments that come with keyshift, by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.yaml"))}


def load(experiment: str, overrides: Sequence[str] = ()) -> Config:
    """The configuration of a shipped experiment's name or a YAML's path, with key=value overrides.

    Raises ValueError for unknown keys (naming the nearest), wrong types and unknown choices.
    """
    path = shipped().get(experiment, Path(experiment))
    if not path.is_file():
        known = ", ".join(shipped())
        near = difflib.get_close_matches(experiment, shipped(), 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ValueError(f"no experiment {experiment!r}: neither a YAML file nor one of {known}.{hint}")
    for override in overrides:
        if "=" not in override:
            raise ValueError(f"{override!r} is not of the form key=value")
    return build(read(path), overrides, str(path))


def load_folder(folder: Path, overrides: Sequence[str] = ()) -> Config:
    """The configuration that a run folder was made with. Raises ValueError where it has none."""
    path = folder / "config.yaml"
    if not path.is_file():
        raise ValueError(f"{folder} is no run folder: it has no config.yaml")
    return build(read(path), overrides, str(path))


def read(path: Path) -> dict[str, Any]:
    """A YAML mapping. Raises ValueError naming the file."""
    try:
        content = yaml.safe_load(path.read_text()) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a mapping of configuration keys, found a {type(content).__name__}")
    return content


def build(content: dict[str, Any], overrides: Sequence[str] = (), origin: str = "configuration") -> Config:
    schema = OmegaConf.structured(Config)
    try:
        dotted = OmegaConf.from_dotlist(list(overrides))
        for part, where in ((OmegaConf.create(content), origin), (dotted, "the command line")):
            _check_keys(OmegaConf.to_container(part), Config(), where)
            schema = OmegaConf.merge(schema, part)
        config = OmegaConf.to_object(schema)
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None)
        raise ValueError(f"{origin}: {key or 'a key'}: {str(error).splitlines()[0]}") from error
    assert isinstance(config, Config)
    if config.tracking == "False":  # YAML reads a bare `off` as false
        config.tracking = "off"
    _check(config)
    return config


def seeds(config: Config) -> list[int]:
    return list(range(config.seeds)) if isinstance(config.seeds, int) else list(config.seeds)


def plain(config: Config) -> dict[str, Any]:
    """The whole configuration as plain data."""
    data = OmegaConf.to_container(OmegaConf.structured(config))
    assert isinstance(data, dict)
    return {str(key): value for key, value in data.items()}


def _check_keys(content: Any, default: Any, origin: str, prefix: str = "") -> None:
    """Refuse keys that the dataclass `default` does not have, suggesting the nearest."""
    if not hasattr(default, "__dataclass_fields__"):
        return
    if not isinstance(content, dict):
        raise ValueError(f"{origin}: {prefix.rstrip('.')} must be a mapping, found {content!r}")
    known = list(default.__dataclass_fields__)
    for key, value in content.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1, 0.4)
            hint = f" Did you mean {prefix}{near[0]}?" if near else f" Known keys: {', '.join(known)}."
            raise ValueError(f"{origin}: unknown key {prefix}{key}.{hint}")
        _check_keys(value, getattr(default, str(key)), origin, f"{prefix}{key}.")


def _check(config: Config) -> None:
    def choose(key: str, value: str, known: Sequence[str]) -> None:
        if value not in known:
            near = difflib.get_close_matches(str(value), known, 1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ValueError(f"{key}={value!r} is not known; choose one of {', '.join(known)}.{hint}")

    for name in (config.strategy, *config.strategies):
        choose("strategy", name, list(STRATEGIES))
    choose("batch_norm", config.batch_norm, POLICIES)
    choose("selection", config.selection, list(RULES))
    choose("regda.pseudo_labels", config.regda.pseudo_labels, VARIANTS)
    for side in (config.source, config.target):
        choose("joints", side.joints, ("all", "center"))
        if isinstance(side.cube, list) and len(side.cube) != 3:
            raise ValueError(f"cube={side.cube} must be one edge in mm, or [x, y, z]")
    choose("crop", config.crop, CROPS)
    choose("precision", config.precision, ("32-true", "bf16-mixed"))
    choose("device", config.device, ("auto", "cpu", "cuda"))
    choose("report.pictures", config.report.pictures, ("all", "blurred", "none"))
    for stage in (config.pretrain, config.optimization):
        choose("optimization.name", stage.name, ("sgd", "adam"))
    told = OmegaConf.structured(config)
    for key, (low, high) in RANGES.items():
        found = OmegaConf.select(told, key)
        for value in found if isinstance(found, list | ListConfig) else [found]:
            if value is not None and not (isinstance(value, int | float) and low <= value <= high):
                raise ValueError(
                    f"{key}={found} must be at least {low:g}" + (f", at most {high:g}" if high < inf else "")
                )
    given = config.seeds
    whole = isinstance(given, int) and given > 0
    listed = isinstance(given, list) and bool(given) and all(isinstance(s, int) and s >= 0 for s in given)
    if isinstance(given, bool) or not (whole or listed):
        raise ValueError(f"seeds={given!r} must be a positive number of seeds or a list of them")
    if not config.strategies:
        raise ValueError("strategies is empty; name at least one")
    if len(config.model.input_size) != 2 or len(config.model.heatmap_size) != 2:
        raise ValueError("model.input_size and model.heatmap_size are [width, height]")
    low, high = config.augmentation.area if len(config.augmentation.area) == 2 else (0, 0)
    if not 0 < low <= high:
        raise ValueError(f"augmentation.area={config.augmentation.area} must be [lowest, highest] shares above 0")
