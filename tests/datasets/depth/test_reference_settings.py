import numpy as np
import pytest

from keyshift.datasets.depth.sets import DEPTH_SETS, REFERENCES, other_settings

CAMERAS = {  # fx, fy, u0, v0 in the datasets' own pixels
    "nyu": (588.03, 587.07, 320, 240),
    "icvl": (240.99, 240.96, 160, 120),
    "hands2017": (475.065948, 475.065857, 315.944855, 245.287079),
}
A2J = {"nyu": (220, 220, 300), "icvl": (190, 190, 300), "hands2017": (200, 200, 300)}


def test_cubes_and_cameras_of_the_references():
    assert {name: settings.cube for name, settings in REFERENCES["a2j"].items()} == A2J
    assert REFERENCES["awr"]["nyu"].cube == (300, 300, 300)
    for settings in REFERENCES.values():
        for name, own in settings.items():
            np.testing.assert_allclose(own.camera, np.add(CAMERAS[name], (0, 0, 0.5, 0.5)))


@pytest.mark.parametrize("name", A2J)
def test_other_cubes_than_the_references(name):
    edge = DEPTH_SETS[name].cube
    said = other_settings("a2j", name, [[edge] * 3], "target")
    wanted = ", ".join(map(str, A2J[name]))
    assert f"only with the reference's cube of {wanted} mm; here it is {edge:g}, {edge:g}, {edge:g}" in said
    assert f"target.cube=[{wanted.replace(' ', '')}]" in said
    assert other_settings("a2j", name, [A2J[name]], "target") == ""
    assert other_settings("exact", name, [[edge] * 3], "target") == ""


def test_what_a_reference_never_cut():
    assert other_settings("a2j", "msra", [[200.0] * 3], "source") == ""
    assert other_settings("awr", "icvl", [[250.0] * 3], "source") == ""
    assert other_settings("a2j", "depth_folder", [[250.0] * 3], "source") == ""


def test_another_camera_than_the_references(monkeypatch):
    v2v = DEPTH_SETS["icvl"].__class__(DEPTH_SETS["icvl"].skeleton, (241.42, 241.42, 160.5, 120.5), 250.0, (320, 240))
    monkeypatch.setitem(DEPTH_SETS, "icvl", v2v)
    said = other_settings("a2j", "icvl", [A2J["icvl"]], "source")
    assert "its camera is 240.99, 240.96, 160, 120, here 241.42, 241.42, 160, 120" in said
