"""RMPE's symmetric spatial transformer around any system that finds one person in a picture.

Fang et al., "RMPE: Regional Multi-Person Pose Estimation", ICCV 2017. The published code (Fang-Haoshu/multi-human-pose
@ 094e29b) has no licence: no part of it is here, and its Torch7 weights are not read, so that its grid in the order of
rows and columns needs no heed. Against it: convolutions of the localisation have no biases, which the batch norm behind
them takes away again; and maps are sampled where their cells stand, not about their own corners, by which an answer is
off by up to 1/64 of a shift. Stacked hourglasses, its network for one person, are not here: FastPose stands inside.

Where boxes are drawn (`proposals`), some are random patches of the person's. For those the published code compares the
parallel branch with labels of that patch, which asks the localisation for nothing; here, where a sample does not say
how its box was drawn, it is compared with the whole person in the middle as for every other box.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from ...datasets.constants import constants
from ...datasets.options import choose, make, option, plain_options
from ...datasets.reading.files import from_home
from ...datasets.sample import PIXELS, PIXELS_AND_MM, Labeled, Unlabeled, known_ends
from ...datasets.skeleton import Skeleton
from ..output import Poses, Votes
from ..parts.backbones import ABOUT
from ..parts.spatial_transformer import Localisation, brought_back, in_pixels, seen
from ..pose_model import PoseModel, normalize, reach_of

OUTSIDE = ("input_size", "head_layers", "adapters")
"""Options of the network inside that are said of the whole."""
ROOM = 1.3
"""Sides of the box of a person who is centred, as a multiple of those of the keypoints' own."""
SMALLEST = 5.0
"""Pixels that such a box has at least."""


class RMPE(PoseModel):
    """A localisation says where the person is, the network inside sees the picture of that, and its votes come back to
    the crop's frame, in which its losses and its decoding are.

    Features are those of the network inside, and behind them theta's six numbers as channels that are the same
    everywhere. `Votes.extra["theta"]` (B, 2, 3) is what the votes were brought back by, beside what the network inside
    says, brought back too.

    With `parallel`, a frozen copy of the network inside, as it was at the start, is shown what that is shown; its votes
    are not brought back, but compared with the labels of the person in the middle, in the picture that the keypoints'
    box and 15 % more on each side fill. That loss teaches the localisation alone. The copy is kept with the weights,
    and left out where the network is exported. Raises ValueError for networks that it cannot go around, for those whose
    votes hold what cannot be brought back, and for foreign files.
    """

    @dataclass(frozen=True)
    class Options(PoseModel.Options):
        network: dict[str, Any] = option(
            {"name": "fast_pose"},
            f"the system inside, its name and options as of model; {', '.join(OUTSIDE)} are said outside",
        )
        weights: str | None = option(
            None, "weights file of a trained network such as inside, that it starts from, or null: network.weights"
        )
        head_layers: int = option(0, "layers of the head inside; 0: as many as it has by itself", low=0)
        localisation: str = option("resnet18", f"the network that says where the person is: {ABOUT}")
        parallel: bool = option(False, "a frozen copy of model.weights teaches the localisation to centre people")

        @property
        def freezes(self) -> str:
            """Published weights inside are those of a backbone: a parallel branch needs a network that is trained."""
            if self.parallel or self.weights is not None:
                return "parallel=true" if self.weights is None else ""
            inside = network_options(self)[1]
            return f"network.{inside.freezes}" if inside.freezes else replace(inside, adapters=self.adapters).freezes

    options: Options

    def __init__(self, keypoints: int, options: Options) -> None:
        super().__init__(keypoints, options)
        self.name, inside = network_options(options)
        self.inner = around()[self.name](keypoints, inside)
        if self.inner.fixed:
            (besides, remedy), *_ = self.inner.fixed.items()
            raise ValueError(
                f"model.network.name={self.name}: votes come back to the crop, and the {besides} of this system's "
                f"cannot: say {f'model.network.{remedy}, or ' if remedy else ''}another system"
            )
        self.reads, self.space = self.inner.reads, self.inner.space  # type: ignore[misc]
        self.localisation = Localisation(options.localisation, self.input_size)
        self.learned = None if options.weights is None else self.start_from(options.weights)
        self.parallel = frozen(self.inner) if options.parallel else None

    def start_from(self, weights: str) -> Skeleton:
        """Take the weights of a trained network; its skeleton. Raises ValueError where it is another than inside."""
        from ..saved import load_model

        trained, skeleton = load_model(from_home(weights))
        wanted = {"name": self.name, "keypoints": self.keypoints} | self.inner.architecture
        kind = next((name for name, kind in around().items() if type(trained) is kind), type(trained).__name__)
        given = {"name": kind, "keypoints": len(skeleton)} | trained.architecture
        for key in wanted.keys() | given.keys():
            if wanted.get(key) != given.get(key):
                raise ValueError(
                    f"model.weights={weights} has {key}={given.get(key)}; the network inside {key}={wanted.get(key)}: "
                    "say what was trained as model.network"
                )
        self.inner.load_state_dict(trained.state_dict())
        return skeleton

    @property
    def architecture(self) -> dict[str, Any]:
        return super().architecture | {"network": named(self.name, self.inner.architecture)}

    @classmethod
    def identity(cls, options: PoseModel.Options) -> dict[str, Any]:
        assert isinstance(options, RMPE.Options)
        name, inside = network_options(options)
        return plain_options(options) | {"network": named(name, around()[name].identity(inside))}

    def know(self, skeleton: Skeleton) -> Self:
        if self.learned is not None and self.learned.keypoints != skeleton.keypoints:
            raise ValueError(
                f"model.weights={self.options.weights} finds {', '.join(self.learned.keypoints)}; the data has "
                f"{', '.join(skeleton.keypoints)}. Choose the data that it was trained on"
            )
        self.inner.know(skeleton)
        return self

    @property
    def head(self) -> nn.Module:  # type: ignore[override]
        return self.inner.head

    def new_head(self, layers: int | None = None) -> nn.Module:
        return self.inner.new_head(layers)

    def restart_head(self, layers: int) -> None:
        """Raises ValueError where the parallel branch has a head of another number of layers."""
        if self.parallel is not None and layers != self.inner.options.head_layers:
            raise ValueError(
                f"model.parallel=true keeps a head of {self.inner.options.head_layers} layers; a fresh one has "
                f"{layers}. Say as many of the strategy's head_layers"
            )
        self.inner.restart_head(layers)
        self.options = replace(self.options, head_layers=layers)
        self.frozen = frozenset(name for name in self.frozen if not name.startswith("inner.head."))

    def with_adapters(self, rank: int) -> Self:
        self.inner.with_adapters(rank)
        self.options = replace(self.options, adapters=self.inner.options.adapters)
        return self

    def groups(self) -> dict[str, list[nn.Parameter]]:
        return self.inner.groups() | {"localisation": list(self.localisation.parameters())}

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.parallel is not None:
            self.parallel.eval()
        return self

    def plain(self) -> PoseModel:
        network = deepcopy(self).merged()
        network.parallel = None
        network.inner = network.inner.plain()
        return network

    def theta(self, sample: Unlabeled) -> Tensor:
        """(B, 2, 3)."""
        if "reach" in self.reads:
            return self.localisation((sample.image / reach_of(sample)).clamp(-1, 1).expand(-1, 3, -1, -1))
        return self.localisation(normalize(sample.image))

    def shown(self, sample: Unlabeled, theta: Tensor) -> Unlabeled:
        """What the network inside reads; outside the picture it is black, and depth void."""
        black = torch.zeros(1, 3, 1, 1, dtype=torch.uint8, device=sample.image.device)
        outside = reach_of(sample) if "reach" in self.reads else normalize(black)
        picture = seen(normalize(sample.image), in_pixels(theta, self.input_size), outside)
        return replace(sample, inputs={**sample.inputs, "image": picture})

    def features(self, sample: Unlabeled) -> Tensor:
        self.check_size(sample.image)
        theta = self.theta(sample)
        features = self.inner.features(self.shown(sample, theta))
        numbers = theta.view(-1, 6, *(1,) * (features.dim() - 2)).expand(-1, -1, *features.shape[2:])
        return torch.cat([features, numbers], 1)

    def votes(self, features: Tensor, sample: Unlabeled, head: nn.Module | None = None) -> Votes:
        theta = features[:, -6:].float().reshape(len(features), 2, 3, -1).mean(-1)
        affine = in_pixels(theta, self.input_size)
        votes = self.inner.votes(features[:, :-6], sample, head)
        extra = self.inner.carried(votes.extra, affine) | {"theta": theta}
        return replace(brought_back(replace(votes, extra={}), affine), extra=extra)

    def decode(self, votes: Votes, sample: Unlabeled) -> Poses:
        return self.inner.decode(votes, sample)

    def counted(self, sample: Labeled) -> Tensor:
        return self.inner.counted(sample)

    def loss(self, votes: Votes, sample: Labeled) -> dict[str, Tensor]:
        """The network's own, and of the parallel branch the sum of its."""
        losses = self.inner.loss(votes, sample)
        if self.parallel is None:
            return losses
        picture = self.shown(sample, votes.extra["theta"])
        person = replace(sample, keypoints=centred(sample.keypoints, sample.annotated, self.input_size))
        answers = self.parallel.loss(self.parallel(picture), person)
        return losses | {"parallel": torch.stack(list(answers.values())).sum()}

    def check(self, sample: Unlabeled, giver: str, cube: str | None = None) -> None:
        self.inner.check(sample, giver, cube)

    def notes(self) -> dict[str, Any]:
        return self.inner.notes()


def around() -> dict[str, type[PoseModel]]:
    """The systems that it can go around, by name: what they vote for is in the picture alone."""
    from ..saved import MODELS  # which imports this

    spaces = PIXELS, PIXELS_AND_MM
    return {
        name: kind
        for name, kind in MODELS.items()
        if kind.single and kind.any_keypoints and not kind.frames and kind.space in spaces and kind is not RMPE
        if set(kind.reads) <= {"image", "reach"} and not kind.fixed
    }


def network_options(options: RMPE.Options) -> tuple[str, Any]:
    """The name of the system inside, and its options."""
    content = dict(options.network)
    name = content.pop("name", None)
    choose("model.network.name", name, list(around()))
    for key in OUTSIDE:
        if key in content:
            raise ValueError(f"model.network.{key} is said outside: model.{key}={content[key]}")
    content |= {"input_size": options.input_size}
    content |= {"head_layers": options.head_layers} if options.head_layers else {}
    return name, make(around()[name].Options, content, "rmpe", "model.network.")


def named(name: str, own: dict[str, Any]) -> dict[str, Any]:
    """A network as `model.network` says it."""
    return {"name": name} | {key: value for key, value in own.items() if key not in OUTSIDE}


def frozen(network: PoseModel) -> PoseModel:
    """A copy that neither learns nor moves statistics."""
    copy = deepcopy(network).requires_grad_(False).eval()
    for name, norm in [(n, m) for n, m in copy.named_modules() if isinstance(m, nn.BatchNorm2d)]:
        still = FrozenBatchNorm2d(norm.num_features, norm.eps)
        still.load_state_dict({key: value for key, value in norm.state_dict().items() if key in still.state_dict()})
        copy.set_submodule(name, still)
    return copy


def centred(points: Tensor, known: Tensor, size: tuple[int, int]) -> Tensor:
    """Points (P, K, D) of people who stand in the middle of pictures of `size`, as large as the box of their keypoints
    that are known (P, K) and ROOM leave them."""
    places, sides = points[..., :2], constants(size, points)
    low, high = (end[:, None] for end in known_ends(places, known))
    middle = torch.where(known.any(1)[:, None, None], (low + high) / 2, 0.0)
    scale = (sides / (ROOM * (high - low)).clamp_min(SMALLEST)).amin(-1, keepdim=True)
    return torch.cat([(places - middle) * scale + sides / 2, points[..., 2:]], -1)
