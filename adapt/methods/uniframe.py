"""UniFrame: a mean teacher whose inputs change style with the source, and whose student sees covered keypoints.

Kim et al., A Unified Framework for Domain Adaptive Pose Estimation, ECCV 2022; VisionLearningGroup/UDA_PoseEstimation
@ baf85f1, train_human.py. With x_s, y_s of the source, x_a and x_b two known views of a target image, f the student, g
its slow copy, and T(c, s) the picture c in the style of s:

    loss     = L(f(x_s'), y_s) + weight * mean over keypoints of KL(G(p_k) || f(C(x_b))_k) where g is confident
    x_s'     = T(x_s, x_a) with probability 1/2, else x_s                        labels stay
    p        = g(x_a'), carried from view a to b;  x_a' = T(x_a, x_s) with probability 1/2, else x_a
    C(x_b)   : with probability 1/2 a square around one of the keypoints of which g is sure shows another place of x_b
    T (fda)  = picture with phases of c, and amplitudes of s at frequencies up to share * min(H, W), of c beyond
    T (adain)= decoder(alpha * (std_s (E(c) - mean_c) / std_c + mean_s) + (1 - alpha) * E(c)), alpha ~ U(0, 1) a batch

G is a Gaussian, and the least confident share of the batch is left out, as in the mean teacher. What differs: there
maps are warped back three times by nearest sampling and redrawn at their peaks, here points travel, on every head (the
reference's way is in adapt/warps.py). The reference covers the image in a frame that it warps to by a shift four times
too small, and resamples the whole; here the square stands in the student's view itself. It is sure where a map's
maximum is 0.9 or more, which an entropy never is (a perfect Gaussian of sigma 2 on 64 x 64 cells has 0.49): here where
the confidence is 0.9 of the surest of the batch, and `surest=one` is the reference's rule. Its pretraining on restyled
source pictures is not done: all strategies share one pretraining.

Style is of colour pictures; depth would lose its millimetres by it, but is covered as pictures are. Of clips each frame
takes the style of its partner's frame, and the square stands in all. 2D keypoints have neither, and points in the
camera's frame say no pixel to cover: there UniFrame is a mean teacher.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from ...datasets.options import FILE, BadOption, option
from ...datasets.sample import IN_MM, Labeled, Unlabeled, inside
from ...models.output import Poses
from ..processes import gather, uniform
from ..strategy import Update
from ..style import StyleNetwork, coloured, transferred
from ..warps import chosen, covered, patch_corner
from .mean_teacher import MeanTeacher

Batch = TypeVar("Batch", bound=Unlabeled)


class UniFrame(MeanTeacher):
    """Style transfer both ways, adaptive occlusion, and the mean teacher's masked consistency."""

    @dataclass(frozen=True)
    class Options(MeanTeacher.Options):
        transfer: str = option("fda", "of style: adain needs a trained network", choices=("fda", "adain", "none"))
        style: str | None = option(None, "of adain: the file that `keyshift style` wrote", tags=(FILE,))
        share: float = option(0.01, "of fda: frequencies swapped, share of the shorter side", low=0, high=0.5)
        restyled: float = option(0.5, "probability of a transfer, drawn for each direction", low=0, high=1)
        occluded: float = option(0.5, "probability that a student's image is covered", low=0, high=1)
        square: float = option(0.08, "side of what is covered, share of the shorter side (20 of 256)", low=0, high=1)
        sure: float = option(
            0.9, "confidence from which on a keypoint may be covered, share of `surest`", low=0, high=1
        )
        surest: str = option("batch", "the highest confidence: that of the batch, or one", choices=("batch", "one"))

        def __post_init__(self) -> None:
            super().__post_init__()
            if self.transfer == "adain" and self.style is None:
                raise BadOption(
                    "transfer=adain needs the style network of this pair of domains, and style is null: train one with "
                    "keyshift style EXPERIMENT and give its file, or take transfer=fda"
                )

    title = "UniFrame"
    about = "mean teacher with style transfer both ways and occlusion of sure keypoints"
    cost = 2.3
    besides = "can use a style network (a file of `keyshift style`)"
    options: Options

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        file = self.options.style if self.options.transfer == "adain" else None
        self.style = None if file is None else StyleNetwork.load(file)

    def step(self, source: Labeled, target: Unlabeled) -> Iterator[Update]:
        if self.options.transfer != "none" and "source" in self.needs:
            source, target = self.restyle(source, target), self.restyle(target, source)
        yield from super().step(source, target)

    def restyle(self, content: Batch, style: Unlabeled) -> Batch:
        """Pictures in the style of the other domain's with the probability of it; the views of `content` stay."""
        if torch.rand(()).item() >= self.options.restyled or not (coloured(content) and coloured(style)):
            return content
        with torch.no_grad():
            alpha = torch.rand((), device=content.image.device)
            image = transferred(content.image, style.image, self.style, self.options.share, alpha)
        return with_image(content, image)

    def shown(self, view: Unlabeled, poses: Poses) -> Unlabeled:
        if "image" not in view.inputs or view.space in IN_MM:
            return view
        sure = surely(poses.confidence, self.options.sure, self.options.surest, ragged=not self.model.single)
        half = round(self.options.square * min(view.image.shape[-2:]) / 2)
        return occlude(view, poses, sure, self.options.occluded, half)


def with_image(sample: Batch, image: Tensor) -> Batch:
    return replace(sample, inputs={**sample.inputs, "image": image})


def surely(confidence: Tensor, share: float, surest: str = "batch", ragged: bool = False) -> Tensor:
    """Where confidences (P, K) are at least `share` of the highest one of all processes, or of `one`: bool."""
    if surest == "one":
        return confidence >= share
    everyone = gather(confidence, ragged).flatten()
    return confidence >= share * torch.cat([everyone, everyone.new_zeros(1)]).amax()


def occlude(view: Unlabeled, poses: Poses, sure: Tensor, rate: float, half: int) -> Unlabeled:
    """The view with a square of 2 * half px around one of the sure keypoints (P, K) of an image replaced by another
    place of that image, with probability `rate`; images where none is sure and seen stay. Poses are in the view's
    pixels."""
    image, images = view.image, len(view)
    width, height = image.shape[-1], image.shape[-2]
    seen = sure & inside(poses.points, view, poses.image_index)
    own = chosen(seen, poses.image_index, uniform(images, device=image.device))
    parts = torch.cat([own.any(1, True).float(), (poses.points[..., :2] * own[..., None]).sum(1)], 1)
    is_there, centre = parts.new_zeros(images, 3).index_add(0, poses.image_index, parts).split([1, 2], 1)
    where = (is_there.squeeze(1) > 0) & (uniform(images, device=image.device) < rate)
    centre = centre.round().long()
    corner = patch_corner(centre, (width, height), half, uniform(images, 2, device=image.device))
    frames = image.flatten(1, -3)
    return with_image(view, covered(frames, centre, corner, where, half).reshape(image.shape))
