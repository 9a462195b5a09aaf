"""ViTPose: a plain vision transformer, and a head of heatmaps over its patches (Xu et al., NeurIPS 2022).

Through transformers' VitPoseForPoseEstimation (the extra `backbones`), with which it agrees numerically; published
checkpoints by name (usyd-community/vitpose-base-simple, vitpose-base, and vitpose-plus-small to -huge, whose expert for
COCO answers) or from a local folder. Their keys are ours. Their heads were trained on Gaussians of peak 1, which votes
read as 20 times the map. They were trained with unbiased data processing (Huang et al., CVPR 2020): the middles of the
first and last cell lie on those of the first and last pixel.

Against the reference: points are the strongest cell, as of all heatmaps here, not refined by DARK; pictures are passed
once, not mirrored as well.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor, nn

from ...datasets.options import option
from ...datasets.reading.files import from_home
from ...datasets.reading.weights import fitting, read_content
from ...datasets.sample import Unlabeled
from ...datasets.skeleton import Skeleton
from ..heatmaps import SHARPNESS, HeatmapModel, hidden_layers, small
from ..output import Grid, Votes
from ..parts.hub import hub_file, library
from ..pose_model import normalize

PATCH = 16
SCALE = 4
"""Cells of a heatmap to a patch, along each axis."""
FILES = ("config.json", "model.safetensors")
SIDES = {"l_": "left_", "r_": "right_"}


class ViTPose(HeatmapModel):
    """Its features are the patches, (B, width, H/16, W/16). Raises ValueError without transformers, for sizes that do
    not divide, and for weights that cannot be had."""

    @dataclass(frozen=True)
    class Options(HeatmapModel.Options):
        input_size: list[int] = option([192, 256], "width, height; multiples of 16", low=16, high=8192, size=2)
        weights: str | None = option(
            None,
            "usyd-community/vitpose-base-simple or another published checkpoint, a folder with its config.json and "
            "model.safetensors, or null: random",
        )
        width: int = option(768, "of the transformer; of a checkpoint its own, as are the next four", low=1)
        layers: int = option(12, "of the transformer", low=1)
        heads: int = option(12, "of its attention", low=1)
        experts: int = option(1, "of its layers, the first of which answers", low=1)
        simple: bool = option(True, "the head is one convolution; false: two transposed ones before it")

    options: Options

    def __init__(self, keypoints: int, options: Options) -> None:
        published = None if options.weights is None else Published(options.weights)
        super().__init__(keypoints, options if published is None else published.options(options))
        width, height = self.input_size
        if width % PATCH or height % PATCH:
            raise ValueError(f"model.input_size {width}x{height} must be a multiple of ViTPose's patches, {PATCH}")
        config = self.config()
        self.backbone = library("transformers", "model.name=vitpose").VitPoseBackbone(config.backbone_config)
        cells = height // PATCH * SCALE, width // PATCH * SCALE
        self.grid = Grid(cells, ((width - 1) / (cells[1] - 1), (height - 1) / (cells[0] - 1)), (0.5, 0.5))
        self.head = self.new_head()
        self.published = None if published is None else published.load(self)

    def config(self) -> Any:
        """transformers' configuration of this network."""
        options = self.options
        transformers = library("transformers", "model.name=vitpose")
        backbone = transformers.VitPoseBackboneConfig(
            image_size=list(self.input_size[::-1]),
            patch_size=[PATCH, PATCH],
            hidden_size=options.width,
            num_hidden_layers=options.layers,
            num_attention_heads=options.heads,
            num_experts=options.experts,
            part_features=options.width // 4,
            out_indices=[options.layers],
        )
        form = {"use_simple_decoder": options.simple, "scale_factor": SCALE, "num_labels": self.keypoints}
        return transformers.VitPoseConfig(backbone_config=backbone, **form)

    def new_head(self, layers: int | None = None) -> nn.Module:
        """The reference's decoder; before it, of a head of several layers, 3x3 convolutions with batch norm."""
        from transformers.models.vitpose.modeling_vitpose import VitPoseClassicDecoder, VitPoseSimpleDecoder

        decoder = (VitPoseSimpleDecoder if self.options.simple else VitPoseClassicDecoder)(self.config())
        small(decoder.conv)
        hidden = hidden_layers(self.options.width, (layers or self.options.head_layers) - 1)
        return nn.Sequential(*hidden, decoder) if hidden else decoder

    def know(self, skeleton: Skeleton) -> Self:
        """Take the published head's maps of keypoints by their names; others start from random weights."""
        names = skeleton.keypoints
        if self.published is not None:
            known, weight, bias = self.published
            self.published = None
            decoder: Any = self.head[-1] if isinstance(self.head, nn.Sequential) else self.head
            rows = [(row, known.index(name)) for row, name in enumerate(names) if name in known]
            with torch.no_grad():
                for row, place in rows:
                    decoder.conv.weight[row], decoder.conv.bias[row] = weight[place], bias[place]
            if len(rows) < len(names):
                unknown = ", ".join(name for name in names if name not in known)
                warnings.warn(
                    f"{self.options.weights} does not know {unknown}; they start from random weights", stacklevel=2
                )
        return self

    def features(self, sample: Unlabeled) -> Tensor:
        image = normalize(sample.image)
        self.check_size(image)
        expert = torch.zeros(len(image), dtype=torch.long, device=image.device) if self.options.experts > 1 else None
        patches = self.backbone(image, dataset_index=expert).feature_maps[-1]
        return patches.transpose(1, 2).unflatten(2, (image.shape[-2] // PATCH, image.shape[-1] // PATCH)).contiguous()

    def votes(self, features: Tensor, sample: Unlabeled, head: nn.Module | None = None) -> Votes:
        return Votes.from_maps(self.grid, SHARPNESS * (self.head if head is None else head)(features))


class Published:
    """A checkpoint of transformers' form, of the hub or a local folder."""

    def __init__(self, name: str) -> None:
        self.name, folder = name, from_home(name)
        if not folder.is_dir() and (folder.exists() or name.count("/") != 1):
            raise ValueError(f"model.weights={name}: expected a folder with {' and '.join(FILES)}, or OWNER/NAME")
        library("transformers", "model.name=vitpose")
        paths = [folder / file if folder.is_dir() else hub_file(name, file) for file in FILES]
        try:
            self.config = json.loads(paths[0].read_text("utf-8"))
            self.state = read_content(paths[1])
            self.backbone = self.config["backbone_config"]
            self.names = [self.config["id2label"][str(i)] for i in range(len(self.config["id2label"]))]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"model.weights={name}: {paths[0].parent} is no checkpoint of ViTPose: {error}") from error

    def options(self, options: ViTPose.Options) -> ViTPose.Options:
        """The options that build its network. Raises ValueError where it is of another size of pictures."""
        backbone = self.backbone
        height, width = backbone.get("image_size", [256, 192])
        if options.input_size != [width, height]:
            raise ValueError(
                f"model.weights={self.name} reads {width}x{height}: say model.input_size=[{width},{height}]"
            )
        own = {
            "width": backbone.get("hidden_size", 768),
            "layers": backbone.get("num_hidden_layers", 12),
            "heads": backbone.get("num_attention_heads", 12),
            "experts": backbone.get("num_experts", 1),
            "simple": self.config.get("use_simple_decoder", True),
        }
        return ViTPose.Options(**{one.name: getattr(options, one.name) for one in fields(options)} | own)

    def load(self, model: ViTPose) -> tuple[list[str], Tensor, Tensor]:
        """Put its weights into `model` but for the last layer, which is given with the names of its maps."""
        decoder: Any = model.head[-1] if isinstance(model.head, nn.Sequential) else model.head
        parts = {"backbone": model.backbone, "head": decoder}
        wanted = {
            f"{part}.{key}": value for part, module in parts.items() for key, value in module.state_dict().items()
        }
        last = ("head.conv.weight", "head.conv.bias")
        wanted |= {key: wanted[key].new_zeros(len(self.names), *wanted[key].shape[1:]) for key in last}
        try:
            state = fitting(self.state, wanted, self.name)
        except ValueError as error:
            raise ValueError(f"model.weights={self.name}: not weights of ViTPose: {error}") from error
        weight, bias = (state.pop(key) for key in last)
        for part, module in parts.items():
            own = {key.removeprefix(f"{part}."): value for key, value in state.items() if key.startswith(f"{part}.")}
            module.load_state_dict(own, strict=False)  # but for the last layer
        return [plain_name(name) for name in self.names], weight, bias


def plain_name(name: str) -> str:
    """A keypoint's name as skeletons here say it: L_Eye is left_eye."""
    name = name.lower().replace(" ", "_")
    return SIDES.get(name[:2], name[:2]) + name[2:]
