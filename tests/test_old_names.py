"""Modules that users import are found under the names that they had in 0.1.0, for one version."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MOVED = {
    path: re.findall(r"keyshift\.[\w.]+\w", path.read_text().splitlines()[0])
    for folder in ("adapt", "datasets", "experiments", "models")
    for path in (ROOT / folder).glob("*.py")
    if path.read_text().startswith('"""Moved to ')
}


@pytest.mark.parametrize("path", MOVED, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_an_old_name_leads_to_where_it_is_now(path):
    old = importlib.import_module(f"keyshift.{path.parent.name}.{path.stem}")
    assert MOVED[path]
    for name in MOVED[path]:
        new = importlib.import_module(name)
        own = [key for key, value in vars(new).items() if getattr(value, "__module__", None) == name and key[0] != "_"]
        assert own
        assert all(getattr(old, key) is getattr(new, key) for key in own)


def test_what_the_first_version_showed_is_still_imported_so():
    from keyshift.adapt.files import load_model, save_model
    from keyshift.adapt.regda import RegDA
    from keyshift.datasets.coco import coco_json
    from keyshift.experiments.predict import predict
    from keyshift.models.pose_resnet import PoseResNet, load_reference

    assert all(callable(one) for one in (load_model, save_model, RegDA, coco_json, predict, PoseResNet, load_reference))
