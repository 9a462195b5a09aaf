"""DETR's losses of people: which query answers for whom, where its box is, and that the others say none.

Carion et al., "End-to-End Object Detection with Transformers", ECCV 2020; facebookresearch/detr @ 29901c5,
models/detr.py and models/matcher.py, with two classes, person and none. A batch's loss is the mean of what its pictures
give alone, on however many processes: what people add up to is divided by the pictures, where DETR divides it by the
people of the batch. Of pictures of one person both are the same.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_convert, generalized_box_iou, generalized_box_iou_loss

from .assignment import NONE, on_host

L1, OVERLAP = 5.0, 2.0
"""Weights of the sides' distance and of the generalised overlap, in matching and in losses."""


def box_losses(
    logs: Tensor, boxes: Tensor, truth: Tensor, image_index: Tensor
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """The losses, summed over the decoder's layers; and of the last layer who was matched, places in `truth` (M,), and
    by which query, (M,).

    logs (B, L, N, 2) of the probabilities of person and none; boxes (B, L, N, 4) and `truth` (P, 4), middle, width and
    height in shares of the picture; image_index (P,) ascending. Of a picture with more people than queries N are
    matched.
    """
    person, query = match_people(logs, boxes, truth, image_index)
    image, layer = image_index[person], torch.arange(logs.shape[1], device=logs.device)[:, None].expand_as(person)
    mine, theirs = boxes[image, layer, query], truth[person]
    corners = (box_convert(each.flatten(0, 1), "cxcywh", "xyxy") for each in (mine, theirs))
    losses = {
        "person": person_loss(logs, image, layer, query),
        "box": L1 * (mine - theirs).abs().sum() / len(logs),
        "overlap": OVERLAP * generalized_box_iou_loss(*corners, reduction="sum") / len(logs),
    }
    return losses, person[-1], query[-1]


def person_loss(logs: Tensor, image: Tensor, layer: Tensor, query: Tensor) -> Tensor:
    """Weighted cross entropy of logs (B, L, N, 2), summed over layers; who is a person stands at (image, layer, query),
    each (L, M). The mean is taken as if each picture had one, so that all pictures weigh alike."""
    pictures, _, queries, _ = logs.shape
    someone = torch.zeros_like(logs[..., 0])
    someone[image, layer, query] = 1.0
    each = someone * logs[..., 0] + NONE * (1 - someone) * logs[..., 1]
    return -each.sum() / (pictures * (1 + NONE * (queries - 1)))


@torch.no_grad()
def match_people(logs: Tensor, boxes: Tensor, truth: Tensor, image_index: Tensor) -> tuple[Tensor, Tensor]:
    """The people of each picture and the queries that answer for them at the least cost, layer by layer: places in
    `truth` (L, M) and queries (L, M)."""
    from scipy.optimize import linear_sum_assignment

    pictures, layers, queries = boxes.shape[:3]
    flat = boxes.flatten(0, 2)
    corners = (box_convert(each, "cxcywh", "xyxy") for each in (flat, truth))
    cost = L1 * torch.cdist(flat, truth, p=1) - OVERLAP * generalized_box_iou(*corners)
    cost = cost.view(pictures, layers, queries, len(truth)) - logs[..., :1].exp()
    table = on_host(cost)
    ends = torch.bincount(image_index, minlength=pictures).cumsum(0).tolist()
    pairs = []
    for layer in range(layers):
        each = [np.zeros((2, 0), np.int64)]
        for image, (first, stop) in enumerate(zip([0, *ends], ends, strict=False)):
            person, query = linear_sum_assignment(table[image, layer, :, first:stop].T)
            each.append(np.stack([person + first, query]))
        pairs.append(np.concatenate(each, 1))
    person, query = torch.from_numpy(np.stack(pairs, 1)).to(truth.device)
    return person, query
