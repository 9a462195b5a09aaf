"""PRTR from end to end: the people of a whole picture, and in differentiable crops of it the keypoints of each.

Li et al., "Pose Recognition with Cascade Transformers", CVPR 2021, the sequential form: DETR (Carion et al., ECCV 2020)
finds people, each box cuts several levels of the backbone by bilinear sampling, and a second transformer asks the crops
for keypoints. Of this form the authors published a notebook that answers, mlpc-ucsd/PRTR @ 64970b8; how it is trained
is ours. Against the notebook:
- a query's keypoint classes are read from its own person's states (there of the last sample's alone, for all), and each
  person's crop goes through the transformer with its own picture (there a batch has one picture);
- none is the last class of both stages (there answering drops class 0, which training puts last);
- points are not drawn into the picture: a keypoint beyond its border is where the person's crop says.

Sampling: 10 x 10 points of 1.25 boxes, `cut_boxes`. The reference puts the levels' channels behind one another and
weighs them after the cut; a 1x1 convolution and the bilinear mean change places, so that levels are weighed before it
here, once for all people. Positions in a crop are half a fixed sine and half learned, one of each row and column.

Training: all decoder layers learn. People by DETR's matching and losses, a person's box being that of its counted
keypoints (annotated and in the picture), ENLARGED times as wide and high, at least SMALLEST of the picture's longer
side, within the picture: labels need not have boxes. Keypoints by PRTR's, in the crops of the queries that the last
layer matches to a labelled person, so of as many as there are labelled people. Distances count in sides of the labelled
person's crop. Nothing is detached: gradient of keypoints reaches the boxes, by the place of the crop and by what it
shows, and the backbone.

A person of whom nothing counts is nobody. People beyond the queries for them are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.ops import box_convert

from ...datasets.constants import constants
from ...datasets.options import option
from ...datasets.sample import Labeled, Unlabeled, known_ends
from ..output import Grid, Poses, Votes
from ..parts.box_losses import box_losses
from ..parts.crops import cut_boxes, from_boxes, in_boxes
from ..parts.pyramid import Pyramid
from ..parts.transformer import MLP, Encoder, Transformer, sine_positions
from ..pose_model import normalize
from .prtr import CELL, PLACES, SPREAD, QueryModel, class_losses, matched, place_losses, positions

ENLARGED = 1.2
"""A labelled person's box against that of its keypoints, which end at wrists, ankles and eyes."""
SMALLEST = 0.05
"""What a box's sides are at least, as a share of the picture's longer side."""


class PRTRPeople(QueryModel):
    """Votes of every person's queries, each for all keypoints, by how likely it is a person's and the keypoint."""

    @dataclass(frozen=True)
    class Options(QueryModel.Options):
        input_size: list[int] = option([512, 512], "width, height", low=1, high=8192, size=2)
        levels: int = option(3, "the last levels of the backbone that people are cut from", low=1, high=4)
        people: int = option(20, "queries for people, at least as many as a picture may have; DETR: 100", low=1)
        width: int = option(256, "of the transformer, a multiple of 4", low=4)
        cells: int = option(10, "of a person's crop along each side", low=2)
        threshold: float = option(
            0.9,
            "probability above which a query is a person; as people weigh ten times what none does in training, both "
            "are as likely at 0.91",
            low=0,
            high=1,
        )

    single = False
    options: Options

    def __init__(self, keypoints: int, options: Options) -> None:
        super().__init__(keypoints, options)
        (columns, rows), width = self.input_size, options.width
        self.backbone = Pyramid(options.backbone, options.weights, self.input_size, options.levels)
        step = max(CELL, *self.backbone.strides)
        if rows % step or columns % step:
            raise ValueError(f"model.input_size {columns}x{rows} must be a multiple of {step}, the backbone's stride")
        if width % 4:
            raise ValueError(
                f"model.width={width} must be a multiple of 4: a quarter each are learned rows and columns"
            )
        form = width, options.heads, options.encoder_layers
        self.projection = nn.Conv2d(self.backbone.channels[-1], width, 1)
        self.person_queries = nn.Embedding(options.people, width)
        nn.init.normal_(self.person_queries.weight, std=SPREAD)
        self.person_transformer = Transformer(*form, options.decoder_layers, options.hidden)
        self.person_class, self.person_box = nn.Linear(width, 2), MLP(width, width, 4, 3)
        self.cut_projections = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in self.backbone.channels)
        self.places = nn.ParameterList(torch.rand(options.cells, width // 4) for _ in range(2))
        self.crop_encoder = Encoder(*form, options.hidden)
        self.grid = Grid((rows // CELL, columns // CELL), (float(CELL),) * 2, (CELL / 2,) * 2)
        self.head = self.new_head()

    def features(self, sample: Unlabeled) -> Tensor:
        """(B, C, N, L + T): of each of N people the states behind every layer of their decoder, and what the encoder of
        crops says of the T places in the crop."""
        image = normalize(sample.image)
        self.check_size(image)
        levels = self.backbone(image)
        deepest = self.projection(levels[-1])
        people = self.person_transformer(deepest.flatten(2).mT, positions(deepest), self.person_queries.weight)
        crops = self.crops(levels, self.boxes(people[:, -1]))
        memory = self.crop_encoder(crops.flatten(0, 1), self.positions()).view_as(crops)
        return torch.cat([people.transpose(1, 2), memory], 2).permute(0, 3, 1, 2)

    def boxes(self, people: Tensor) -> Tensor:
        """States (..., C) to boxes (..., 4): middle, width and height in shares of the picture."""
        return self.person_box(people).float().sigmoid()

    def crops(self, levels: list[Tensor], boxes: Tensor) -> Tensor:
        """The tokens of each box (B, N, 4) in all levels: (B, N, cells * cells, C)."""
        each = [
            cut_boxes(projection(level), boxes, self.options.cells)
            for projection, level in zip(self.cut_projections, levels, strict=True)
        ]
        return torch.stack(each).sum(0).flatten(3).mT

    def positions(self) -> Tensor:
        """(cells * cells, C) of the places in a crop."""
        cells, width = self.options.cells, self.options.width
        rows, columns = self.places
        learned = torch.cat([rows[:, None].expand(-1, cells, -1), columns.expand(cells, -1, -1)], -1)
        return torch.cat([sine_positions(cells, cells, width // 2, rows.device), learned.flatten(0, 1)], -1)

    def votes(self, features: Tensor, sample: Unlabeled, head: nn.Module | None = None) -> Votes:
        """`extra` holds what all decoder layers say: of N people the logarithms of the probabilities of person and
        none, `persons` (B, L, N, 2), and `boxes` (B, L, N, 4), and of each person's queries those of the classes,
        `logs` (B, N, L, Q, K + 1), and `points` (B, N, L, Q, 2) px."""
        people, crops = features.tensor_split([self.options.decoder_layers], 3)
        people, crops = people.permute(0, 3, 2, 1), crops.transpose(1, 2)
        persons, boxes = self.person_class(people).float().log_softmax(-1), self.boxes(people)
        answers = (self.head if head is None else head)(crops.flatten(0, 1), self.positions())
        classes, shares = (answer.float().unflatten(0, crops.shape[:2]) for answer in answers)
        places = from_boxes(shares.sigmoid(), boxes[:, -1, :, None, None])
        logs, points = classes.log_softmax(-1), places * constants(self.input_size, places)
        logits = persons[:, -1, :, None, :1] + logs[:, :, -1, :, :-1]
        extra = {"persons": persons, "boxes": boxes, "logs": logs, "points": points}
        return Votes(self.grid, logits.flatten(1, 2), points[:, :, -1].flatten(1, 2)[:, :, None], extra)

    def decode(self, votes: Votes, sample: Unlabeled) -> Poses:
        """Who is likelier a person than the threshold; of each the own queries, one for each keypoint."""
        person = votes.extra["persons"][:, -1, :, 0].exp()
        image, query = (person > self.options.threshold).nonzero(as_tuple=True)
        sure = votes.extra["logs"][image, query, -1, :, :-1].exp()
        best = self.own_queries(sure)
        points = votes.extra["points"][image, query, -1].gather(1, best[..., None].expand(-1, -1, 2))
        return Poses(points, sure.mT.gather(2, best[..., None]).squeeze(2), image, person[image, query])

    def counted(self, sample: Labeled) -> Tensor:
        return sample.annotated & self.grid.contains(sample.keypoints)

    def loss(self, votes: Votes, sample: Labeled) -> dict[str, Tensor]:
        counted, extra = self.counted(sample), votes.extra
        someone = counted.any(1).nonzero().squeeze(1)
        boxes = person_boxes(sample.keypoints[someone], counted[someone], self.input_size)
        image_index = sample.image_index[someone]
        losses, person, query = box_losses(extra["persons"], extra["boxes"], boxes, image_index)
        image, known = image_index[person], counted[someone[person]]
        frame = boxes[person] * constants(2 * self.input_size, boxes)
        truth = in_boxes(sample.keypoints[someone[person]], frame[:, None])
        logs, places = extra["logs"][image, query], in_boxes(extra["points"][image, query], frame[:, None, None])
        if not len(person):
            return losses | {"classes": 0 * extra["logs"].sum(), "places": 0 * extra["points"].sum()}
        taken = matched(logs, places, truth, known, self.options.matching)
        classes, away = class_losses(logs, taken, known), place_losses(places, taken, truth, known)
        share = len(person) / len(sample)  # those are means over people
        return losses | {"classes": share * classes.sum(), "places": share * PLACES * away.sum()}


def person_boxes(points: Tensor, counted: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes (P, 4), middle, width and height in shares of the picture of `size` (width, height) px, of people of whose
    keypoints (P, K, 2) px some count, (P, K) bool: as the head of this file says."""
    frame, (low, high) = constants(size, points), known_ends(points, counted)
    half = ((high - low) * ENLARGED).clamp_min(SMALLEST * max(size)) / 2
    middle = (low + high) / 2
    corners = torch.cat([(middle - half).clamp_min(0) / frame, (middle + half).minimum(frame) / frame], 1)
    return box_convert(corners, "xyxy", "cxcywh")
