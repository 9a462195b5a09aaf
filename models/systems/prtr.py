"""PRTR: queries of a transformer, each of which says which keypoint it is and where it stands.

Li et al., "Pose Recognition with Cascade Transformers", CVPR 2021, the two-stage cascade: a person's crop in, after
DETR (Carion et al., ECCV 2020); mlpc-ucsd/PRTR @ 64970b8, two_stage/lib/models/pose_transformer.py, core/loss.py and
models/matcher.py. Agrees with it numerically.

With z_q the K + 1 class logits of query q, the last for none, p_q = softmax(z_q), and r_q in (0, 1)^2 its place as a
share of the input, y_k the labels, and q(k) the queries that are matched to keypoints, one each, where
    sum_k matching |r_q(k) - y_k|_1 - p_q(k)[k]
is least (Hungarian method), every decoder layer for itself adds
    L = sum_q w_q (-log p_q[k(q)]) / sum_q w_q + 5 K mean over k, x and y of |r_q(k) - y_k|,
k(q) being none for queries that are not matched, whose weight is 0.1 where that of the others is 1.

Votes. The cross entropy leaves free what is added to all logits of a query, so that logits of different queries cannot
be compared; log p_q[k] can. These are the votes: the candidates are the queries, of all keypoints together, and a query
that says none is a low vote for each. RegDA's adversary and a restarted head ask with the queries and decoder that the
main head has learned; what is fresh are the layers that answer.

Labels. A keypoint of which the place is not known takes no query, and what no query is matched to, unknown keypoints
may be: the logarithm is of p_q[none] + the sum of p_q over them. The reference (`reference`) matches them to the place
that is written for them, and lets that query learn its class.

Decoding. One query for each keypoint, that the sum of p_q[k] is greatest; in an exported file, which has no Hungarian
method, each keypoint takes its likeliest query by itself. Its probability is the confidence. The reference's is that
among the K keypoints alone, without none; its flip test takes 1 - x for the mirror image of x, which is a pixel off, so
that its mean is half a pixel too far right (`flip_test` mirrors pixels).

From random weights, at a small size, what counts is that queries soon agree on who is who: as many queries as
keypoints, matching=1, queries that begin apart (SPREAD), the backbone at four times the rate, no rate above 1e-3. On
rendered hands of 64 x 64 (`small`, width 64, one layer of the encoder and three of the decoder, Adam, batches of 16,
one seed) PCK at 0.1 is then 0.56, 0.73 and 0.84 on held-out pictures after 450, 900 and 1800 updates; of heatmaps it
is 0.86 after 450.

Keys of its checkpoints: `backbone.0.body` is `backbone`, `transformer.encoder` is `encoder`; `transformer.decoder`,
`query_embed`, `class_embed` and `kpt_embed` stand under `head`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.models.resnet import Bottleneck

from ...datasets.constants import constants
from ...datasets.options import option
from ...datasets.sample import Labeled, Unlabeled, transform
from ..output import Grid, Poses, Votes
from ..parts.assignment import NONE, assigned
from ..parts.backbones import ABOUT, build_backbone, resnet_of
from ..parts.hrnet import BRANCHES, HRNETS, HRNet
from ..parts.transformer import MLP, Decoder, Encoder, sine_positions
from ..pose_model import PoseModel, intensities, normalize, normalized
from ..released import loaded, read_released

CELL = 4
"""Pixels between the cells of the grid that densities are read on."""
PLACES = 5.0
"""Weight of the distance beside the cross entropy."""
SPREAD = 4.0
"""Standard deviation of queries in the beginning. With the reference's 1 each of them looks everywhere, all say the
same, and it takes long until they are told apart."""
FROZEN = ("conv1", "layer1")
"""Parts of a ResNet that do not learn where it is frozen."""


class QueryModel(PoseModel):
    """What asks tokens with queries: its head is `Queries`, each keypoint's answer is that of one query of its own."""

    @dataclass(frozen=True)
    class Options(PoseModel.Options):
        backbone: str = option("resnet50", f"the network below the transformer: {ABOUT}")
        head_layers: int = option(3, "layers that say where a query stands", low=1)
        queries: int = option(100, "candidates of a person, at least as many as keypoints", low=1)
        width: int = option(256, "of the transformer", low=2)
        heads: int = option(8, "of its attention", low=1)
        encoder_layers: int = option(6, "of self-attention over the tokens", low=0)
        decoder_layers: int = option(6, "in which queries look at the tokens, each of which learns", low=1)
        hidden: int = option(2048, "width between the two linear layers of each", low=1)
        matching: float = option(
            5.0,
            "weight of the distance beside the probability, where queries are matched; from random weights 1: queries "
            "choose their keypoints first, and places are learned afterwards",
            low=0,
        )

    options: Options
    one_to_one = True
    """Decoding is by the Hungarian method."""

    def __init__(self, keypoints: int, options: Options) -> None:
        super().__init__(keypoints, options)
        if options.queries < keypoints:
            raise ValueError(f"model.queries={options.queries}: {keypoints} keypoints need as many queries, or more")

    def new_head(self, layers: int | None = None) -> nn.Module:
        """A head whose answers are fresh; its queries and decoder begin as the main head's, where there is one."""
        options, main = self.options, self._modules.get("head")
        decoder = Decoder(options.width, options.heads, options.decoder_layers, options.hidden)
        head = Queries(decoder, options.width, options.queries, self.keypoints, layers or options.head_layers)
        if isinstance(main, Queries):
            for own, given in ((head.decoder, main.decoder), (head.query_embed, main.query_embed)):
                own.load_state_dict(given.state_dict())
        return head

    def own_queries(self, sure: Tensor) -> Tensor:
        """The query of each keypoint, (P, K), for probabilities (P, Q, K)."""
        return assigned(-sure.mT) if self.one_to_one else sure.argmax(1)

    def plain(self) -> PoseModel:
        """It decodes without the Hungarian method, which runs on the host: each keypoint takes its likeliest query."""
        plain = copy(self.merged())
        plain.one_to_one = False
        return plain

    def notes(self) -> dict[str, Any]:
        return {"queries": "each keypoint takes its likeliest query by itself; keyshift's own decoding is one to one"}


class PRTR(QueryModel):
    """Votes of the queries. Its features are the encoder's tokens, (B, width, H/stride, W/stride).

    Raises ValueError for an input that is no multiple of the backbone's stride, and for fewer queries than keypoints.
    """

    @dataclass(frozen=True)
    class Options(QueryModel.Options):
        input_size: list[int] = option([288, 384], "width, height", low=1, high=8192, size=2)
        frozen: bool = option(
            False,
            "as published of ResNets, for published weights below: the backbone's batch norms stay as they are given, "
            "and its conv1 and layer1 do not learn",
        )
        reference: bool = option(
            False,
            "for released weights: a ResNet's channels are BGR, normalised as if RGB, places are counted from the "
            "middle of the first pixel, confidences are without none; unknown keypoints are matched too",
        )

        @property
        def freezes(self) -> str:
            return "frozen=true" if self.frozen and self.weights is None else super().freezes

    options: Options

    def __init__(self, keypoints: int, options: Options) -> None:
        super().__init__(keypoints, options)
        if options.backbone in HRNETS:
            self.backbone: Any = Joined(options.backbone, options.weights)
        else:
            self.backbone = build_backbone(options.backbone, options.weights, self.input_size)
        step, (width, height) = max(self.backbone.stride, CELL), self.input_size
        if width % step or height % step:
            raise ValueError(f"model.input_size {width}x{height} must be a multiple of {step}, the backbone's stride")
        self.grid = Grid((height // CELL, width // CELL), (float(CELL), float(CELL)), (CELL / 2, CELL / 2))
        self.input_proj = nn.Conv2d(self.backbone.channels, options.width, 1)
        self.encoder = Encoder(options.width, options.heads, options.encoder_layers, options.hidden)
        self.head = self.new_head()
        if options.frozen:
            self.freeze()

    def freeze(self) -> None:
        """Keep of the backbone what the reference keeps."""
        norms = {f"backbone.{n}": m for n, m in self.backbone.named_modules() if isinstance(m, _BatchNorm)}
        for part in (*norms.values(), *(m for n, m in self.backbone.named_children() if n in FROZEN)):
            part.requires_grad_(False)
        self.frozen = frozenset(norms)
        self.train(self.training)

    def features(self, sample: Unlabeled) -> Tensor:
        image = normalize(sample.image)
        self.check_size(image)
        return self.encode(as_bgr(image) if self.bgr else image)

    def encode(self, image: Tensor) -> Tensor:
        """Features of a normalised image (B, 3, H, W)."""
        maps = self.input_proj(self.backbone(image))
        tokens = self.encoder(maps.flatten(2).mT, positions(maps))
        return tokens.mT.unflatten(2, maps.shape[2:])

    def votes(self, features: Tensor, sample: Unlabeled, head: nn.Module | None = None) -> Votes:
        """`extra` holds what all decoder layers say: the logarithms of the classes' probabilities, (B, L, Q, K + 1),
        the last of none, and places (B, L, Q, 2) in 0..1."""
        classes, places = (self.head if head is None else head)(features)
        logs, places = classes.float().log_softmax(-1), places.float().sigmoid()
        where = places[:, -1, :, None] * self.sides(places) + self.origin
        return Votes(self.grid, logs[:, -1, :, :-1], where, {"logs": logs, "places": places})

    def carried(self, extra: Mapping[str, Any], affine: Tensor) -> dict[str, Any]:
        places = extra["places"]
        points = transform(affine, places * self.sides(places) + self.origin)
        return {**extra, "places": (points - self.origin) / self.sides(places)}

    def decode(self, votes: Votes, sample: Unlabeled) -> Poses:
        logs = votes.logits.log_softmax(-1) if self.options.reference else votes.logits
        sure = logs.exp()
        query = self.own_queries(sure)[:, None]
        assert votes.where is not None
        points = votes.where.squeeze(2).gather(1, query.mT.expand(-1, -1, 2))
        return Poses.of_crops(points, sure.gather(1, query).squeeze(1))

    def counted(self, sample: Labeled) -> Tensor:
        return sample.annotated if self.options.reference else sample.annotated & self.grid.contains(sample.keypoints)

    def loss(self, votes: Votes, sample: Labeled) -> dict[str, Tensor]:
        logs, places = (votes.extra[name][sample.image_index] for name in ("logs", "places"))
        truth = (sample.keypoints - self.origin) / self.sides(places)
        known = self.counted(sample)
        taking = torch.ones_like(known) if self.options.reference else known
        query = matched(logs, places, truth, taking, self.options.matching)
        classes, away = class_losses(logs, query, taking), place_losses(places, query, truth, known)
        return {"classes": classes.sum(), "places": PLACES * away.sum()}

    @property
    def bgr(self) -> bool:
        """The released ResNets see channels in OpenCV's order."""
        return self.options.reference and self.options.backbone.startswith("resnet")

    @property
    def origin(self) -> float:
        """Where the place (0, 0) is, px."""
        return 0.5 if self.options.reference else 0.0

    def sides(self, like: Tensor) -> Tensor:
        """(width, height) px of the input."""
        return constants(self.input_size, like)


class Joined(HRNet):
    """HRNet's branches as one map (B, 2048, H/32, W/32): each is widened, halved and added to the next coarser one.

    Networks of classification have these layers too, under the same keys: ImageNet's weights are of the whole.
    """

    stride = 32

    def __init__(self, name: str, weights: str | None = None) -> None:
        super().__init__(name, levels=BRANCHES)
        inner, widths = ([width * 2**branch for branch in range(BRANCHES)] for width in (HRNETS[name].width, 128))
        self.incre_modules = nn.ModuleList(
            nn.Sequential(Bottleneck(inputs, width // 4, downsample=shortcut(inputs, width)))
            for inputs, width in zip(inner, widths, strict=True)
        )
        self.downsamp_modules = nn.ModuleList(
            nn.Sequential(nn.Conv2d(inputs, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
            for inputs, width in pairwise(widths)
        )
        self.channels = 2048
        last = nn.Conv2d(widths[-1], self.channels, 1)
        self.final_layer = nn.Sequential(last, nn.BatchNorm2d(self.channels), nn.ReLU(inplace=True))
        if weights is not None:
            self.load(name, weights, BRANCHES)

    def forward(self, image: Tensor) -> Tensor:
        total, *coarser = (wider(one) for wider, one in zip(self.incre_modules, self.branches(image), strict=True))
        for halved, one in zip(self.downsamp_modules, coarser, strict=True):
            total = one + halved(total)
        return self.final_layer(total)


def shortcut(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))


class Queries(nn.Module):
    """Features (B, C, h, w) to what each query says behind every decoder layer: class logits (B, L, Q, K + 1) and
    places (B, L, Q, 2) before their sigmoid, x first. Cells have the positions `known` (h * w, C), by default
    `positions` of a whole input."""

    def __init__(self, decoder: Decoder, width: int, queries: int, keypoints: int, layers: int) -> None:
        super().__init__()
        self.decoder, self.query_embed = decoder, nn.Embedding(queries, width)
        nn.init.normal_(self.query_embed.weight, std=SPREAD)
        self.class_embed, self.kpt_embed = nn.Linear(width, keypoints + 1), MLP(width, width, 2, layers)

    def forward(self, features: Tensor, known: Tensor | None = None) -> tuple[Tensor, Tensor]:
        where = positions(features) if known is None else known
        states = self.decoder(features.flatten(2).mT, where, self.query_embed.weight)
        return self.class_embed(states), self.kpt_embed(states)


def positions(maps: Tensor) -> Tensor:
    """Of the cells of maps (B, C, h, w): (h * w, C)."""
    rows, columns = maps.shape[2:]
    return sine_positions(rows, columns, maps.shape[1], maps.device)


def as_bgr(image: Tensor) -> Tensor:
    """Images (B, 3, H, W) as ImageNet normalises RGB, as the released ResNets see them: channels in the order BGR, each
    less the mean of the other order."""
    return normalized(intensities(image).flip(1))


@torch.no_grad()
def matched(logs: Tensor, places: Tensor, truth: Tensor, known: Tensor, distance: float) -> Tensor:
    """The query of each keypoint in each layer, (P, L, K), for logarithms of probabilities (P, L, Q, K + 1), places
    (P, L, Q, 2) and labels (P, K, 2), `distance` weighing how far they are apart. Those that are not `known` (P, K) are
    given what others leave over."""
    away = torch.cdist(truth[:, None], places, p=1)
    return assigned((distance * away - logs[..., :-1].exp().mT) * known[:, None, :, None])


def class_losses(logs: Tensor, query: Tensor, known: Tensor) -> Tensor:
    """Weighted cross entropy of each layer, (L,): of (P, L, Q, K + 1) with queries (P, L, K) of `known` keypoints
    (P, K). A query that is not matched may be none or a keypoint that is not known. The mean is taken as if all were
    known, so that all parts of a batch weigh alike."""
    people, _, queries, classes = logs.shape
    taken = known[:, None].to(logs.dtype).expand_as(query)
    own = logs[..., :-1].mT.gather(-1, query[..., None]).squeeze(-1)
    possible = functional.pad(~known, (0, 1), value=True)[:, None, None]
    free = logs.masked_fill(~possible, -torch.inf).logsumexp(-1)
    left = 1 - torch.zeros_like(free).scatter(-1, query, taken)
    whole = people * (classes - 1 + NONE * (queries - classes + 1))
    return -((own * taken).sum((0, 2)) + NONE * (free * left).sum((0, 2))) / whole


def place_losses(places: Tensor, query: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """L1 of each layer, (L,), summed over keypoints and averaged over x and y and people."""
    own = places.gather(2, query[..., None].expand(-1, -1, -1, 2))
    away = (own - truth[:, None]).abs() * known[:, None, :, None]
    return away.mean((0, 2, 3)) * truth.shape[1]


KEYS = {
    "backbone.0.body.": "backbone.",
    "transformer.encoder.": "encoder.",
    "transformer.decoder.": "head.decoder.",
    "query_embed.": "head.query_embed.",
    "class_embed.": "head.class_embed.",
    "kpt_embed.": "head.kpt_embed.",
    "input_proj.": "input_proj.",
}
LAYERS = {"encoder.layers.": 2, "head.decoder.layers.": 3, "head.kpt_embed.layers.": 3}
"""Where their number stands in a key."""
WANTED = (
    *("class_embed.weight", "kpt_embed.layers.0.weight", "query_embed.weight", "input_proj.weight"),
    "transformer.decoder.layers.0.linear1.weight",
)


def counted_norms(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same with a count of batches for every batch norm. Frozen ones have none: they have seen some."""
    counts = [key.replace(".running_var", ".num_batches_tracked") for key in state if key.endswith(".running_var")]
    return dict.fromkeys(counts, torch.ones((), dtype=torch.long)) | dict(state)


def hrnet_of(state: Mapping[str, Tensor]) -> str:
    """The name of the HRNet whose tensors stand under `backbone.`. Raises ValueError for another network."""
    key = "backbone.transition1.0.0.weight"
    names = [name for name, form in HRNETS.items() if key in state and form.width == len(state[key])]
    if not names:
        raise ValueError(f"not a PRTR checkpoint: its backbone, {min(state)} ..., is neither a ResNet nor an HRNet")
    return names[0]


def load_reference(state: Mapping[str, Tensor], input_size: Sequence[int] = (288, 384), **options: Any) -> PRTR:
    """A PRTR from a released checkpoint of the two-stage cascade, in evaluation mode; sizes are read off the shapes.

    `input_size` is (width, height); `options` are PRTR's own: heads where they are not 8. Raises ValueError, naming
    keys, for other checkpoints.
    """
    ours = counted_norms(read_released(state, PRTR, WANTED, KEYS))
    layers = {part: len({k.split(".")[n] for k in ours if k.startswith(part)}) for part, n in LAYERS.items()}
    resnet = "backbone.layer4.0.conv1.weight" in ours
    chosen: dict[str, Any] = {
        "backbone": resnet_of(ours) if resnet else hrnet_of(ours),
        "input_size": list(input_size),
        "queries": len(ours["head.query_embed.weight"]),
        "width": len(ours["input_proj.weight"]),
        "head_layers": layers["head.kpt_embed.layers."],
        "encoder_layers": layers["encoder.layers."],
        "decoder_layers": layers["head.decoder.layers."],
        "hidden": len(ours["head.decoder.layers.0.linear1.weight"]),
        "frozen": resnet,
        "reference": True,
    }
    return loaded(PRTR(len(ours["head.class_embed.weight"]) - 1, PRTR.Options(**(chosen | options))), ours)
