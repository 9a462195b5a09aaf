"""Which folder of the cache holds the pretrained weights that a run wants."""

import torch

from keyshift.experiments.config import load, of_pretraining
from keyshift.experiments.runs.folder import describe
from keyshift.experiments.runs.pretrained import pretrained_folder

SOURCE = {"name": "hands.studio", "train": 10}


def test_a_folder_from_before_an_option_existed_is_used(tmp_path):
    """It was trained as the option's default says, and not as another value does."""
    plain, hue = (load("demo", words) for words in ([], ["augmentation.hue=0.1"]))
    about, other = (of_pretraining(one) | {"seed": 3, "keypoints": ["wrist"]} for one in (plain, hue))
    before = dict(about, augmentation={k: v for k, v in about["augmentation"].items() if k not in ("hue", "jpeg")})
    before["model"] = {key: value for key, value in before["model"].items() if key != "adapters"}
    earlier = tmp_path / "0123-seed3"
    describe(earlier, before, {"source_train": SOURCE}, torch.device("cpu"))
    assert pretrained_folder(tmp_path, about, SOURCE) != earlier  # it is not done
    (earlier / "done").touch()
    assert pretrained_folder(tmp_path, about, SOURCE) == earlier
    assert pretrained_folder(tmp_path, other, SOURCE) != earlier
    assert pretrained_folder(tmp_path, about, SOURCE | {"train": 11}) != earlier
