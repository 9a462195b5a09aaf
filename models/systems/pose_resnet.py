"""PoseResNet: a ResNet or another backbone, transposed convolutions, and a head of heatmaps read by a spatial softmax.

Xiao et al., "Simple Baselines for Human Pose Estimation", ECCV 2018, in the form of RegDA (Jiang et al., CVPR 2021):
thuml/Transfer-Learning-Library @ c4aa59e, tllib/vision/models/keypoint_detection/pose_resnet.py and
tllib/alignment/regda.py. Agrees with it numerically. Keys of its checkpoints are ours, less the unused
`backbone.fc.*`; `head_adv.*` of a RegDA checkpoint belongs to the strategy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from ...datasets.options import option
from ...datasets.reading.weights import unwrapped
from ...datasets.sample import Labeled
from ..heatmaps import UpsampledMaps
from ..parts.backbones import resnet_of


class PoseResNet(UpsampledMaps):
    """Heatmap logits for K keypoints."""

    @dataclass(frozen=True)
    class Options(UpsampledMaps.Options):
        reference: bool = option(
            False,
            "TLLib's labels and grid, for comparison: the label's centre rounded to a cell, the Gaussian cut to 13 x "
            "13 at sigma 2, cell j at pixel 4j; ours is exact and cell j is centred at pixel 4j + 2",
        )

    options: Options

    def __init__(self, keypoints: int, options: Options) -> None:
        super().__init__(keypoints, options)
        if options.reference:
            self.grid, self.cut = replace(self.grid, origin=(0.0, 0.0)), 3 * options.sigma

    def labels(self, sample: Labeled) -> tuple[Tensor, Tensor]:
        points = self.reference_points(sample.keypoints) if self.options.reference else sample.keypoints
        return points, sample.annotated & self.grid.contains(points)

    def reference_points(self, points: Tensor) -> Tensor:
        """The label's cell as TLLib rounds it, int(x / stride + 0.5) with truncation toward zero, in pixels."""
        return self.grid.to_points((self.grid.to_cells(points) + 0.5).trunc())


def load_reference(state: Mapping[str, Tensor], input_size: Sequence[int] = (256, 256)) -> PoseResNet:
    """A PoseResNet from a TLLib checkpoint: of pretraining (head 1x1) or of RegDA (its main head).

    The backbone, the keypoints and the head's layers are read off the shapes; keys may carry a `module.` prefix.
    The result is in evaluation mode, with the reference's grid (cell j at pixel 4j). Raises ValueError, naming the
    keys, when the state is not a PoseResNet's.
    """
    state = unwrapped(state, "backbone.layer1.0.conv1.weight")
    kept = {k: v for k, v in state.items() if not k.startswith(("backbone.fc.", "head_adv.", "gl_layer."))}
    heads = sorted((k for k in kept if k.startswith("head.") and kept[k].dim() == 4), key=lambda k: (len(k), k))
    backbone = resnet_of(kept)
    if backbone is None or not heads or "upsampling.0.weight" not in kept:
        raise ValueError(
            f"not a PoseResNet checkpoint: found {len(state)} entries such as {sorted(state)[:3]}; expected "
            "backbone.layer1.0.conv1.weight, upsampling.0.weight, head.weight (TLLib's PoseResNet or PoseResNet2d)"
        )
    strides = sum(1 for k in kept if k.startswith("upsampling.") and kept[k].dim() == 4)
    options = PoseResNet.Options(
        backbone=backbone,
        input_size=list(input_size),
        heatmap_size=[side * 2**strides // 32 for side in input_size],
        channels=kept["upsampling.0.weight"].shape[1],
        head_layers=len(heads),
        reference=True,
    )
    model = PoseResNet(kept[heads[-1]].shape[0], options)
    try:
        model.load_state_dict(kept)
    except RuntimeError as error:
        raise ValueError(f"not a PoseResNet checkpoint of {backbone}: {error}") from error
    return model.eval()
