"""The networks of Anatomy3D: directions of bones from 2D keypoints over time, lengths of bones from single frames, and
what joins the two (see systems/anatomy3d.py)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

AT_ONCE = 64
"""Frames for which the second net of directions is run at once over a whole sequence: each holds the maps of a window
of its own."""


class Joined(nn.Module):
    """`width` steps joined into one, beside the one of them that goes on as it is: the middle, or with `causal` the
    last. Maps (B, inputs, T) to (B, C, T / width); with a `dilation` each step with those that far from it, to
    (B, C, T - (width - 1) * dilation)."""

    def __init__(self, inputs: int, channels: int, width: int, dropout: float, causal: bool) -> None:
        super().__init__()
        self.channels, self.width, self.kept = channels, width, width - 1 if causal else width // 2
        self.conv = nn.Conv1d(inputs, channels, width, bias=False)
        self.norm = nn.BatchNorm1d(channels)
        self.point = nn.Conv1d(channels, channels, 1, bias=False)
        self.point_norm = nn.BatchNorm1d(channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, maps: Tensor, dilation: int | None = None) -> Tensor:
        joined = over(self.conv, maps, dilation)
        if dilation is None:
            kept = maps[:, : self.channels, self.kept :: self.width]
        else:
            kept = maps[:, : self.channels].narrow(2, self.kept * dilation, joined.shape[2])
        joined = self.dropout(F.relu(self.norm(joined)))
        return kept + self.dropout(F.relu(self.point_norm(self.point(joined))))


def over(conv: nn.Conv1d, maps: Tensor, dilation: int | None) -> Tensor:
    """A convolution over time: step by step of its width, or of every place where a `dilation` is given."""
    if dilation is None:
        return F.conv1d(maps, conv.weight, stride=conv.kernel_size)
    return F.conv1d(maps, conv.weight, dilation=dilation)


class DirectionNet(nn.Module):
    """Two nets over a window of as many frames as the product of `widths`: the first as in VideoPose3D, of places and,
    as a factor beside them, of scores; the second goes over the window again with what the first came to."""

    def __init__(
        self, keypoints: int, bones: int, widths: Sequence[int], channels: int, dropout: float, causal: bool
    ) -> None:
        super().__init__()
        self.widths, self.window = tuple(widths), math.prod(widths)
        self.places = nn.Conv1d(2 * keypoints, channels, widths[0], bias=False)
        self.places_norm = nn.BatchNorm1d(channels)
        self.scores = nn.Conv1d(keypoints, channels, widths[0], bias=False)
        self.scores_norm = nn.BatchNorm1d(channels)
        inputs = (2 * channels, *(channels for _ in widths[2:]))
        ahead = zip(inputs, widths[1:], strict=False)
        self.first = nn.ModuleList(Joined(size, channels, width, dropout, causal) for size, width in ahead)
        self.second = nn.ModuleList(Joined(2 * channels, channels, width, dropout, causal) for width in widths[1:])
        self.first_directions = nn.Linear(channels, 3 * bones)
        self.dropout = nn.Dropout(dropout)

    def levels(self, frames: Tensor, dense: bool = False) -> list[Tensor]:
        """What the first net knows of frames (B, T, K, 3), normalised places and scores: maps (B, C, T / w1),
        (B, C, T / (w1 w2)) and so on, to (B, C, 1) of a window; `dense` of the windows from each frame on."""
        places, scores = frames[..., :2].flatten(2).transpose(1, 2), frames[..., 2].transpose(1, 2)
        dilation = 1 if dense else None
        seen = self.dropout(F.relu(self.places_norm(over(self.places, places, dilation))))
        sure = self.dropout(F.relu(self.scores_norm(over(self.scores, scores, dilation))))
        levels, maps = [seen], torch.cat([seen, sure * seen], 1)
        for layer, width in zip(self.first, self.widths, strict=False):
            dilation = None if dilation is None else dilation * width
            maps = layer(maps, dilation)
            levels.append(maps)
        return levels

    def again(self, levels: Sequence[Tensor]) -> Tensor:
        """What the second net makes of the levels of windows: (B, C). Nothing of it reaches the first."""
        maps = levels[-1].detach().expand(-1, -1, levels[0].shape[2])
        for layer, level in zip(self.second, levels, strict=False):
            maps = layer(torch.cat([maps, level.detach()], 1))
        return maps[..., 0]

    def sequence(self, frames: Tensor) -> Iterator[Tensor]:
        """`again` of every window of frames (T, K, 3), in parts: (N, C) each, T - window + 1 together."""
        levels = self.levels(frames[None], dense=True)
        for start in range(0, levels[-1].shape[2], AT_ONCE):
            count = min(AT_ONCE, levels[-1].shape[2] - start)
            yield self.again([one.transpose(0, 1) for one in self.windows(levels, start, count)])

    def windows(self, levels: Sequence[Tensor], start: int, count: int) -> Iterator[Tensor]:
        """The levels (C, N, P) of the `count` windows from that of number `start` on, of dense levels (1, C, T)."""
        step = 1
        for number, level in enumerate(levels):
            step *= self.widths[number]
            steps = torch.arange(self.window // step, device=level.device) * step
            yield level[0][:, torch.arange(start, start + count, device=level.device)[:, None] + steps]


class LengthNet(nn.Module):
    """Poses of single frames, and how much each of a person's frames is to be believed for each bone's length."""

    def __init__(self, keypoints: int, bones: int, pairs: int, channels: int, dropout: float) -> None:
        super().__init__()
        self.entry = layer(2 * keypoints, channels, dropout)
        double = (
            nn.Sequential(*layer(channels, channels, dropout), *layer(channels, channels, dropout))
            for _ in range(pairs)
        )
        self.pairs = nn.ModuleList(double)
        self.last = nn.Linear(channels, 3 * keypoints)
        self.attention = nn.Linear(6 * keypoints, bones)

    def poses(self, places: Tensor) -> Tensor:
        """Poses (..., K, 3) in m of frames with normalised places (..., K, 2), each by itself."""
        maps = self.entry(places.reshape(-1, 2 * places.shape[-2]))
        for pair in self.pairs:
            maps = maps + pair(maps)
        return full(self.last(maps)).view(*places.shape[:-1], 3)

    def belief(self, poses: Tensor) -> Tensor:
        """Of poses (..., K, 3) logits (..., bones), which a softmax over a person's frames turns into shares."""
        flat = poses.detach().flatten(-2)
        return full(self.attention(torch.cat([flat, flat.abs()], -1)))


def layer(inputs: int, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU(), nn.Dropout(dropout))


class Fusion(nn.Module):
    """Vectors (B, outputs, 3) of lengths (B, bones) and directions (B, 3 * bones), each widened and then multiplied."""

    def __init__(self, bones: int, channels: int, outputs: int) -> None:
        super().__init__()
        self.lengths = nn.Linear(bones, channels)
        self.directions = nn.Linear(3 * bones, channels)
        self.vectors = nn.Linear(channels, 3 * outputs)

    def forward(self, lengths: Tensor, directions: Tensor) -> Tensor:
        return self.vectors(self.lengths(lengths) * self.directions(directions)).unflatten(-1, (-1, 3))


class AnatomyHead(nn.Module):
    """What the second net came to (B, C) to the directions of bones (B, 3 * bones); these, with lengths, to joints in
    m."""

    def __init__(self, keypoints: int, bones: int, channels: int, layers: int) -> None:
        super().__init__()
        self.hidden = nn.Sequential(*(one for _ in range(layers - 1) for one in layer(channels, channels, 0.0)))
        self.directions = nn.Linear(channels, 3 * bones)
        self.joints = Fusion(bones, channels, keypoints)

    def directed(self, maps: Tensor) -> Tensor:
        return unit(self.directions(self.hidden(maps)))


def unit(vectors: Tensor) -> Tensor:
    """(B, 3 * bones) with each bone's three of norm 1."""
    return F.normalize(vectors.unflatten(-1, (-1, 3)), dim=-1).flatten(-2)


def full(values: Tensor) -> Tensor:
    """Values of half precision, as autocast gives them, in float32; others as they are."""
    return values.float() if values.element_size() < 4 else values
