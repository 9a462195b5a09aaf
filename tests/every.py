"""Each system of the registry in its smallest form, and a batch of random samples for it."""

from dataclasses import fields

import torch

from keyshift.datasets.sample import PIXELS, Labeled
from keyshift.datasets.skeleton import Skeleton
from keyshift.models.saved import MODELS

SKELETON = Skeleton(
    "stick",
    ("pelvis", "left_hand", "right_hand", "head"),
    edges=((0, 1), (0, 2), (0, 3)),
    flip_pairs=((1, 2),),
    groups={"all": (0, 1, 2, 3)},
    root=0,
    extent=2000.0,
)
NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.final = nn.Conv2d(8, 4, 1)

    def forward(self, image):
        return self.final(self.body(image))
"""
MAPS = {"backbone": "small", "channels": 8, "heatmap_size": [8, 8], "sigma": 1.0}
DETR = {"backbone": "small", "width": 16, "heads": 2, "encoder_layers": 1, "decoder_layers": 2, "hidden": 24}
SPACE = {"backbone": "small", "channels": 8}
REGRESSION = {"backbone": "small", "channels": 8, "hidden": [16], "window": 8, "step": 8}
SMALL = {
    "pose_resnet": MAPS,
    "vitpose": {"width": 24, "layers": 2, "heads": 2, "sigma": 1.0},
    "dsnt": MAPS,
    "fast_pose": {"backbone": "small", "sigma": 1.0},
    "rmpe": {"network": {"name": "pose_resnet", **MAPS}, "localisation": "small"},
    "prtr": DETR | {"queries": 6},
    "prtr_people": DETR | {"levels": 2, "people": 5, "queries": 4, "cells": 4, "threshold": 0.1},
    "higher_hrnet": SPACE | {"blocks": 0, "threshold": 0.0, "most": 4},
    "dekr": SPACE | {"keypoint_channels": 4, "head_layers": 1, "people": 4, "threshold": 0.0},
    "dcpose": SPACE | {"fused": 8, "dilations": [1, 2], "sigma": 1.0},
    "a2j": SPACE | {"head_layers": 1},
    "awr": SPACE | {"downsample": 4},
    "root_net": SPACE,
    "pose_net": SPACE | {"depth_cells": 8},
    "root_pose_net": SPACE | {"depth_cells": 8},
    "dsnt_3d": SPACE | {"depth_cells": 8},
    "li_chan": REGRESSION,
    "li_chan_3d": REGRESSION,
    "anatomy3d": {"widths": [3, 3], "channels": 12},
    "own": {"object": "Net", "gives": "heatmaps", "head": "final"},
}
"""Options beside inputs of 32 x 32."""


def small(name, folder):
    """The system `name` in its smallest form, of random weights; `folder` takes the file of a user's own network."""
    options = {"input_size": [32, 32], **SMALL[name]}
    if name == "own":
        (folder / "net.py").write_text(NET)
        options |= {"file": str(folder / "net.py")}
    torch.manual_seed(0)
    skeleton = SKELETON.select(("pelvis",)) if name == "root_net" else SKELETON
    return MODELS[name](len(skeleton), MODELS[name].Options(**options)).know(skeleton)


def samples(model, count=2):
    """`count` random samples of what the model reads, with labels: of systems that find several people, two in the
    first picture."""
    draw = torch.Generator().manual_seed(1)
    torch.manual_seed(1)
    one = model.empty()
    people = torch.arange(count) if model.single else torch.tensor([0, *range(count)])
    inputs = {name: values.expand(count, *values.shape[1:]).clone() for name, values in one.inputs.items()}
    if "image" in inputs:
        noise = torch.rand(inputs["image"].shape, generator=draw)
        dark = inputs["image"].dtype != torch.uint8
        inputs["image"] = noise * 150 - 75 if dark else (255 * noise).to(torch.uint8)
    where = torch.rand(len(people), model.keypoints, 2 if model.space == PIXELS else 3, generator=draw)
    scale = torch.tensor([20.0, 20.0, 100.0])[: where.shape[-1]]
    known = torch.ones(where.shape[:2], dtype=torch.bool)
    known[-1, -1] = model.keypoints == 1
    shared = {f.name: getattr(one, f.name) for f in fields(one)}
    shared |= {name: shared[name].expand(count, *shared[name].shape[1:]).clone() for name in ("frame", "to_file")}
    shared |= {"camera": one.camera.expand(count, 4) * 30, "side": one.side.expand(count) * 32}
    shared |= {"id": tuple(map(str, range(count))), "sequence": ("",) * count, "inputs": inputs}
    return Labeled(
        **shared | {"row": torch.arange(count)},
        keypoints=where * scale + 6,
        visible=known,
        annotated=known,
        image_index=people,
        points=(where * 2000 + 1000) if where.shape[-1] == 3 else None,
    )
