"""Your own network: any torch module that answers with heatmaps, coordinates or offsets, adapted by every strategy.

A file of yours, my_net.py, holds the module, or a function annotated `-> nn.Module` that builds it:

    class MyNet(nn.Module):
        def __init__(self, keypoints: int) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(3, 64, 7, 4, 3), nn.ReLU())
            self.final = nn.Conv2d(64, keypoints, 1)

        def forward(self, image: Tensor) -> Tensor:
            return self.final(self.body(image))

and the experiment's YAML names it:

    model:
      name: own
      input_size: [256, 256]         # width, height
      file: my_net.py
      object: MyNet
      arguments: {keypoints: 21}     # the dataset's number, in its order
      weights: my_net.pt             # state_dict of the module, under any key; null: as built
      gives: heatmaps                # coordinates, offsets
      head: final                    # the last operation, by its dotted name; null: the last child
      normalize: imagenet            # how uint8 becomes float; unit: 0..1; none: 0..255
      scale: 1.0                     # of heatmaps and responses before the softmax; of maps in 0..1 more, about 20
      unit: pixels                   # of coordinates, of the input; unit: 0..1

`forward` takes images (B, 3, H, W), float, and answers, by `gives`, with

- heatmaps (B, K, h, w);
- coordinates (B, K, 2), or (B, 2K) in the order x1, y1, x2, ...;
- offsets (B, 3K, h, w): K responses, then x1, y1, x2, ... from the cell's centre in pixels of the input; or these two
  as a tuple (B, K, h, w), (B, 2K, h, w).

x points right, y down, the input's top left corner is (0, 0). h and w are any; cells cover the input evenly, and the
first is centred at half a stride.

`head` has one tensor as input, and nothing is done to what it answers. It is taken out; the features are what your
`forward` hands it. That head(features) is your module's answer is tried when the network is built. RegDA starts it
anew by `reset_parameters` of its layers; with regda.head_layers of 2 (the default) or more, hidden layers go before
it: 3x3 convolutions where it reads maps, linear layers where it reads vectors, with batch norm and ReLU. Everything
but the head is the group "backbone" of the optimiser's factors. `OwnModel.own_state()` gives the weights back under
your module's names.

A checkpoint holds weights and plain data, and no code: it names the file by its absolute path and SHA-256, and loading
it runs that file, as training did. Where the file is missing or has another content nothing is run, and the error says
so. What the file imports is not compared. Load checkpoints only with files that you trust.
"""

from __future__ import annotations

import hashlib
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from ...datasets.constants import constants
from ...datasets.options import option, plain_options
from ...datasets.reading.files import from_home
from ...datasets.reading.weights import fitting, read_content
from ...datasets.sample import Labeled, Unlabeled
from ..output import Grid, Poses, Votes, spatial_kl
from ..pose_model import PoseModel, normalize
from .own_file import build_module, named, read_file

SIGMA = 2.0
"""Of the Gaussian that heatmaps and responses are drawn to, cells."""
CELL = 4
"""Input pixels in a cell of the grid on which densities of coordinates are read."""
TAU = 0.01
"""Where the loss of points turns from square to linear, in sides of the input; AWR's number."""


class OwnModel(PoseModel):
    """The module `object(**arguments)` of the Python file `file`, split into features and head.

    Raises ValueError, naming file and object, for a file that is missing, changed or does not run, an object that is no
    module, weights that do not fit, answers of another shape than `gives` and `keypoints` say, and a head that is not
    the last operation.
    """

    @dataclass(frozen=True)
    class Options(PoseModel.Options):
        head_layers: int = option(1, "1: your head alone; more: hidden layers go before it", low=1)
        file: str = option("", "the Python file that holds your network")
        object: str = option("", "a torch.nn.Module's class in it, or a function annotated `-> nn.Module`")
        arguments: dict[str, Any] = option({}, "what it is called with, plain data")
        gives: str = option("heatmaps", "what the network answers", choices=("heatmaps", "coordinates", "offsets"))
        head: str | None = option(None, "dotted name of the last operation; null: the last child")
        normalize: str = option("imagenet", "how uint8 becomes float", choices=("imagenet", "unit", "none"))
        scale: float = option(1.0, "of heatmaps and responses before the softmax", low=1e-9, high=1e9)
        unit: str = option("pixels", "of coordinates: pixels of the input, or unit: 0..1", choices=("pixels", "unit"))
        sha256: str | None = option(None, "what the file's SHA-256 must be; null: the file is taken as it is")

    any_keypoints = False
    options: Options

    def __init__(self, keypoints: int, options: Options) -> None:
        super().__init__(keypoints, options)
        _check(options)
        path, source = read_file(options.file, options.sha256)
        module = build_module(path, source, options.object, dict(options.arguments))
        self.title = f"{options.object} of {path}"
        if options.weights is not None:
            _load_weights(module, options.weights, self.title)
        self.gives, self.normalize, self.scale = options.gives, options.normalize, options.scale
        width, height = self.input_size
        self.length = (1.0, 1.0) if options.unit == "pixels" else (float(width), float(height))
        self.head_name = _head_name(module, options.head, self.title)
        rows, columns = self._split(module)
        stride = (width / columns, height / rows)
        self.grid = Grid((rows, columns), stride, (stride[0] / 2, stride[1] / 2))
        digest = hashlib.sha256(source).hexdigest()
        self.options = replace(options, file=str(path), head=self.head_name, sha256=digest)
        if options.head_layers > 1:
            self.head = self.new_head(options.head_layers)

    @classmethod
    def identity(cls, options: OwnModel.Options) -> dict[str, Any]:  # type: ignore[override]
        """A network of yours is what its file says now."""
        _, source = read_file(options.file, options.sha256)
        return plain_options(options) | {"sha256": hashlib.sha256(source).hexdigest()}

    @classmethod
    def rebuild(cls, keypoints: int, options: Options) -> OwnModel:  # type: ignore[override]
        if options.sha256 is None:
            raise ValueError(f"no SHA-256 of {options.file!r} in it, so that file is not run")
        return cls(keypoints, replace(options, weights=None))

    def _split(self, module: nn.Module) -> tuple[int, int]:
        """Take the head out of `module`, a tap in its place, after a trial on random images. Returns the grid's shape.

        The two are compared under noise on the head's parameters: a head of zeros answers alike wherever it stands.
        """
        draw = torch.Generator().manual_seed(0)
        image = torch.randn(2, 3, *self.input_size[::-1], generator=draw)
        head = module.get_submodule(self.head_name)
        noisy = {key: p + 0.1 * torch.randn(p.shape, generator=draw) for key, p in head.named_parameters()}
        module.eval()
        with torch.no_grad(), named(f"{self.title} fails on images {tuple(image.shape)}"):
            answer = module(image)
            whole = functional_call(module, {f"{self.head_name}.{key}": p for key, p in noisy.items()}, (image,))
        shape, children = self._shape(answer), _children(module)
        module.set_submodule(self.head_name, Tap())
        if {id(p) for p in head.parameters()} & {id(p) for p in module.parameters()}:
            raise ValueError(f"{self.title}: head={self.head_name} shares parameters with the rest; give it its own")
        self.backbone, self.head = module, head
        wrong = (
            f"{self.title}: head={self.head_name} must be the last operation, one tensor in and nothing done to what "
            f"comes out; set head to the submodule that is, or put the last operations into one. Children: {children}"
        )
        with torch.no_grad(), named(wrong):
            features = self._tapped(image)
            last = functional_call(head, noisy, (features,))
        if not _same(whole, last):
            raise ValueError(wrong)
        self.features_shape = tuple(features.shape[1:])
        self.train()
        return shape

    def _shape(self, answer: Any) -> tuple[int, int]:
        """Rows and columns of the grid. Raises ValueError where the answer to a batch of 2 is not what `gives` says."""
        k, shapes = self.keypoints, [tuple(part.shape) for part in _parts(answer)]
        tail = shapes[0][2:] if shapes else ()
        forms: dict[str, tuple[list[list[tuple[int, ...]]], str]] = {
            "heatmaps": ([[(2, k, *tail)]], f"(2, {k}, h, w)"),
            "coordinates": ([[(2, k, 2)], [(2, 2 * k)]], f"(2, {k}, 2) or (2, {2 * k})"),
            "offsets": (
                [[(2, 3 * k, *tail)], [(2, k, *tail), (2, 2 * k, *tail)]],
                f"(2, {3 * k}, h, w), or a tuple of (2, {k}, h, w) and (2, {2 * k}, h, w)",
            ),
        }
        wanted, words = forms[self.gives]
        if shapes not in wanted or (self.gives != "coordinates" and len(tail) != 2):
            gave = " and ".join(map(str, shapes)) or f"a {type(answer).__name__}"
            alone = "" if isinstance(answer, Tensor) else "; let its forward answer with that alone, also in training"
            raise ValueError(
                f"{self.title} answers images (2, 3, {self.input_size[1]}, {self.input_size[0]}) with {gave}; "
                f"gives={self.gives} of {k} keypoints is {words}. Check gives, and that the network has the dataset's "
                f"number of keypoints{alone}"
            )
        width, height = self.input_size
        return (max(height // CELL, 2), max(width // CELL, 2)) if self.gives == "coordinates" else (tail[0], tail[1])

    def _tapped(self, image: Tensor) -> Tensor:
        """What the head reads: the module runs until it calls the tap."""
        try:
            self.backbone(image)
        except Reached as reached:
            return reached.features
        raise ValueError(f"{self.title} does not call head={self.head_name}")

    def features(self, sample: Unlabeled) -> Tensor:
        self.check_size(sample.image)
        return self._tapped(to_float(sample.image, self.normalize))

    def votes(self, features: Tensor, sample: Unlabeled, head: nn.Module | None = None) -> Votes:
        return self.read((self.head if head is None else head)(features))

    def plain(self) -> PoseModel:
        return Whole(self.merged())  # type: ignore[return-value]

    def read(self, answer: Any) -> Votes:
        """The votes that an answer of the module stands for."""
        if self.gives == "heatmaps":
            return Votes.from_maps(self.grid, self.scale * answer)
        if self.gives == "coordinates":
            where = answer.float().reshape(-1, 1, self.keypoints, 2)
            where = where * constants(self.length, where)
            return Votes(self.grid, torch.zeros_like(where[..., 0]), where)
        split = [self.keypoints, 2 * self.keypoints]
        responses, offsets = answer.split(split, 1) if isinstance(answer, Tensor) else answer
        x, y = (self.grid.axis(dim, offsets.float()) for dim in (0, 1))
        cells = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).view(1, -1, 1, 2)
        where = cells + offsets.float().flatten(2).transpose(1, 2).unflatten(2, (self.keypoints, 2))
        return Votes(self.grid, self.scale * responses.flatten(2).transpose(1, 2), where)

    def decode(self, votes: Votes, sample: Unlabeled) -> Poses:
        """The strongest cell of heatmaps, else the mean of the votes."""
        points = votes.peak() if votes.where is None else votes.mean()
        return Poses.of_crops(points, votes.confidence())

    def counted(self, sample: Labeled) -> Tensor:
        if self.gives == "coordinates":
            return sample.annotated
        return sample.annotated & self.grid.contains(sample.keypoints)

    def loss(self, votes: Votes, sample: Labeled) -> dict[str, Tensor]:
        """heatmap: KL of the maps, or of an offset head's responses, from a Gaussian of 2 cells. point: smooth L1 of
        the voted points in units of the input's longer side."""
        people, counted, losses = sample.image_index, self.counted(sample), {}
        if self.gives != "coordinates":
            responses = Votes(self.grid, votes.logits).log_density()[people]
            losses["heatmap"] = spatial_kl(responses, self.grid.target(sample.keypoints, SIGMA), counted)
        if self.gives != "heatmaps":
            away = (votes.mean()[people] - sample.keypoints) / max(self.input_size)
            each = F.smooth_l1_loss(away, torch.zeros_like(away), reduction="none", beta=TAU).mean(-1)
            losses["point"] = (each * counted).sum() / counted.sum().clamp_min(1)
        return losses

    def new_head(self, layers: int | None = None) -> nn.Module:
        """Your head with fresh parameters behind `layers` - 1 hidden layers as wide as what it reads.

        Raises ValueError for a head whose parameters no `reset_parameters` makes fresh, and for hidden layers before
        a head that reads neither maps (B, C, h, w) nor vectors (B, C).
        """
        final = deepcopy(self.head[-1] if isinstance(self.head, Deeper) else self.head)
        stuck = _restart(final)
        if stuck:
            raise ValueError(
                f"{self.title}: a fresh head={self.head_name} is asked for, but {stuck} has parameters and no "
                "reset_parameters(); give it that method, or choose a strategy that keeps the head"
            )
        count = (layers or self.options.head_layers) - 1
        if count and len(self.features_shape) not in (1, 3):
            raise ValueError(
                f"{self.title}: head={self.head_name} reads features (B, {', '.join(map(str, self.features_shape))}); "
                "hidden layers go before maps (B, C, h, w) or vectors (B, C) only. Set regda.head_layers=1"
            )
        hidden = [part for _ in range(count) for part in _hidden(self.features_shape)]
        return Deeper(*hidden, final) if hidden else final

    def own_state(self) -> dict[str, Tensor]:
        """The weights under your module's own names, for its load_state_dict. Raises ValueError where hidden layers
        were put before the head, which your module does not have."""
        if isinstance(self.head, Deeper):
            raise ValueError(
                f"{self.title}: the head has hidden layers that the module has not, and its weights do not fit there; "
                "use the checkpoint or its ONNX, or train with regda.head_layers=1"
            )
        head = {f"{self.head_name}.{key}": value for key, value in self.head.state_dict().items()}
        return self.backbone.state_dict() | head


class Reached(Exception):
    """No error: it ends a forward where the features are complete."""

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.features = features


class Tap(nn.Module):
    """Stands where the head was: ends the forward there, and hands out what the head would have read."""

    def forward(self, features: Tensor) -> Tensor:
        if not isinstance(features, Tensor):
            raise TypeError(f"the head gets a {type(features).__name__}")
        raise Reached(features)


class Whole(nn.Module):
    """Your module with the head at its own place again, a plain forward that exporters trace."""

    def __init__(self, model: OwnModel) -> None:
        super().__init__()
        self.module = deepcopy(model.backbone)
        self.module.set_submodule(model.head_name, deepcopy(model.head))
        self.normalize, self.read, self.decode = model.normalize, model.read, model.decode

    def forward(self, sample: Unlabeled) -> Votes:
        return self.read(self.module(to_float(sample.image, self.normalize)))


class Deeper(nn.Sequential):
    """Hidden layers, then a head of the user's form."""


def to_float(image: Tensor, form: str) -> Tensor:
    """uint8 images as `form` (imagenet, unit, none) says; float images pass unchanged."""
    if image.dtype != torch.uint8:
        return image
    return normalize(image) if form == "imagenet" else image.float() / (255 if form == "unit" else 1)


def _check(options: OwnModel.Options) -> None:
    if options.gives == "coordinates" and options.scale != 1:
        raise ValueError(f"model.scale={options.scale} has no effect on coordinates; leave it at 1")
    if options.gives != "coordinates" and options.unit != "pixels":
        raise ValueError(f"model.unit={options.unit} is of coordinates; with gives={options.gives} leave it at pixels")


def _head_name(module: nn.Module, head: str | None, title: str) -> str:
    name = head or next((name for name, _ in reversed(list(module.named_children()))), "")
    try:
        if name and module.get_submodule(name) is not module:
            return name
    except AttributeError:
        pass
    raise ValueError(f"{title} has no submodule head={head}; name one of its children: {_children(module)}")


def _children(module: nn.Module) -> str:
    return ", ".join(f"{name} ({type(child).__name__})" for name, child in module.named_children()) or "none"


def _load_weights(module: nn.Module, weights: str, title: str) -> None:
    """A state_dict, under whatever key of the file and with whatever prefix; see `fitting`."""
    try:
        module.load_state_dict(fitting(read_content(from_home(weights)), module.state_dict(), weights), strict=False)
    except ValueError as error:
        raise ValueError(f"model.weights={weights} is no state_dict of {title}: {error}") from error


def _parts(answer: Any) -> list[Tensor]:
    parts = list(answer) if isinstance(answer, tuple | list) else [answer]
    return parts if all(isinstance(part, Tensor) for part in parts) else []


def _same(one: Any, other: Any) -> bool:
    """Whether two answers agree to float tolerance, whatever the form of their last axes."""
    pairs = [(a.flatten(1), b.flatten(1)) for a, b in zip(_parts(one), _parts(other), strict=False)]
    alike = len(_parts(one)) == len(_parts(other)) and all(a.shape == b.shape for a, b in pairs)
    return alike and all(bool((a - b).abs().max() <= 1e-4 * a.abs().max()) for a, b in pairs)


def _restart(module: nn.Module, reached: bool = False) -> str | None:
    """Fresh parameters in place, inner modules first; the name of a class that has some which nothing resets."""
    reset = getattr(module, "reset_parameters", None)
    if reset is None and not reached and any(True for _ in module.parameters(recurse=False)):
        return type(module).__name__
    for child in module.children():
        stuck = _restart(child, reached or reset is not None)
        if stuck:
            return stuck
    if reset is not None:
        reset()
    return None


def _hidden(shape: tuple[int, ...]) -> list[nn.Module]:
    """A hidden layer for features of `shape`, (C, h, w) or (C,)."""
    width = shape[0]
    if len(shape) == 1:
        return [nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(inplace=True)]
    return [nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
