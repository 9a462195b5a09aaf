"""Dials: each moves what it says and nothing else, from exactly the source's distribution on; labels stay exact."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from keyshift.datasets.catalog import open_dataset, options_of
from keyshift.datasets.rendered import depth, hand_scene
from keyshift.datasets.rendered.body_anatomy import BODY_LIMITS, sample_body
from keyshift.datasets.rendered.body_flesh import sample_body_pose
from keyshift.datasets.rendered.depth import SUBJECTS, render_depth
from keyshift.datasets.rendered.hand_anatomy import GESTURES, LIMITS, family_shares, sample_pose, sample_subject
from keyshift.datasets.rendered.hand_flesh import PARTS
from keyshift.datasets.rendered.hands import render
from keyshift.datasets.rendered.occluders import OCCLUDERS
from keyshift.datasets.rendered.sensors import SENSORS, time_of_flight
from keyshift.datasets.rendered.shifted import (
    DEPTH_DIALS,
    FAR,
    STUDIO,
    WEBCAM,
    DepthOptions,
    HandOptions,
    depth_sensor,
    hand_style,
)
from keyshift.datasets.sample import to_pixels

SIZE = 48
BONES = {"points", "a", "b", "wrist", "camera"}
MOVED = {
    "light": {"light_colour", "ambient", "wrap", "shadow", "gain", "veil", "vignette"},
    "skin": {"skin", "palm_skin", "nail"},
    "clutter": {"wall", "grain", "shapes", "shape_colours", "a", "radii", "radius"},
    "camera": BONES | {"turn", "palm", "back"},
    "sensor": {"blur", "noise"},
    "framing": {"camera"},
    "occlusion": {"a", "b", "radii", "radius", "paint"},
    "anatomy": BONES | {"radii", "radius", "back"},
    "poses": BONES | {"gesture", "back"},
}
"""All that a dial may change of a hand's scene. Anatomy and poses turn fingertips: a thumb reaches where it did."""
MOVED_DEPTH = {
    "camera": {"points", "a", "b", "camera", "center", "wall"},
    "sensor": set(),
    "occlusion": {"a", "b", "radii"},
    "anatomy": {"points", "a", "b", "radii", "center"},
    "poses": {"points", "a", "b", "center"},
}


def style(**dials):
    return hand_style(HandOptions(**dials))


def sensor(**dials):
    return depth_sensor(DepthOptions(**dials))


def changed(before, after):
    """The keys of scenes whose values differ anywhere."""
    pairs = list(zip(before, after, strict=True))
    return {name for name in before[0] if any(not np.array_equal(one[name], two[name]) for one, two in pairs)}


def scenes(look):
    return [hand_scene.draw_scene(look, 4, index, SIZE, ()) for index in range(0, 240, 11)]


@pytest.mark.parametrize("dial", FAR)
def test_a_dial_of_hands_moves_what_it_says_and_nothing_else(dial):
    before, after = scenes(style()), scenes(style(**{dial: 1.0}))
    assert changed(before, after) == MOVED[dial]
    others = {name: 1.0 for name in FAR if name != dial and not MOVED[dial] & MOVED[name]}
    assert changed(scenes(style(**others)), scenes(style(**others, **{dial: 1.0}))) == MOVED[dial]
    moved = [np.abs(two["a"] - one["a"]).max(1) > 0 for one, two in zip(before, after, strict=True)]
    names = {PARTS[n] for n in np.flatnonzero(np.any(moved, 0))}
    if dial == "clutter":
        assert names == {"sleeve_radial", "sleeve_ulnar"}
    if dial == "occlusion":
        assert names == {f"occluder_{n}" for n in range(OCCLUDERS)}


@pytest.mark.parametrize("what", SUBJECTS)
@pytest.mark.parametrize("dial", DEPTH_DIALS)
def test_a_dial_of_depth_moves_what_it_says_and_nothing_else(what, dial):
    before, after = (
        [depth.draw_scene(what, look, 4, index, SIZE) for index in range(0, 200, 23)]
        for look in (sensor(), sensor(**{dial: 1.0}))
    )
    assert changed(before, after) == MOVED_DEPTH[dial]


def test_at_zero_it_is_the_source_and_at_one_what_it_leads_to():
    same = {"name": "studio", "dials": None}
    assert replace(style(), **same, clutter=0, cluttered=1.0) == STUDIO
    reached = asdict(style(**dict.fromkeys(FAR, 1.0)))
    webcam = asdict(WEBCAM)
    for name in (*FAR["light"], "clutter", "cluttered", "sleeves"):
        assert reached[name] == webcam[name], name
    for toward in ("structured_light", "time_of_flight"):
        far, ideal = sensor(toward=toward, sensor=1.0, camera=1.0), sensor(toward=toward)
        assert replace(far, **named(SENSORS[toward])) == SENSORS[toward]
        assert replace(ideal, **named(SENSORS["ideal"])) == SENSORS["ideal"]
    half = style(light=0.5, framing=0.25)
    assert half.exposure == pytest.approx((0.775, 1.175))
    assert half.fill == pytest.approx((0.54, 0.8025))


def named(known):
    return {"name": known.name, "measure": known.measure, "dials": None}


@pytest.fixture(scope="module")
def made():
    cases = {"source": {}, "half": {"clutter": 0.5}, **{dial: {dial: 1.0} for dial in FAR}}
    return {name: render(style(**dials), 2, range(0, 320, 8), SIZE) for name, dials in cases.items()} | {
        "studio": render("studio", 2, range(0, 320, 8), SIZE)
    }


def light(one):
    hands = [image[depth > 0].float().mean(0) for image, depth in zip(one.image, one.depth, strict=True)]
    return torch.stack(hands).std(0).mean()


def darkness(one):
    return 255 - one.image[one.depth > 0].float().mean()


def roughness(one, behind):
    image, off = one.image.float(), (one.depth == 0) if behind else (one.depth > 0)
    return (image[:, 1:] - image[:, :-1]).abs()[off[:, 1:] & off[:, :-1]].mean()


def perspective(one):
    return (one.points[..., 2].amax(1) / one.points[..., 2].amin(1)).mean()


def smallness(one):
    return 1 / (one.keypoints.amax(1) - one.keypoints.amin(1)).amax(-1).mean()


def hidden(one):
    return (~one.visible).float().mean()


def proportions(one):
    bones = (one.points[:, [8, 4]] - one.points[:, [7, 3]]).norm(dim=-1)
    return (bones / (one.points[:, 9] - one.points[:, 0]).norm(dim=-1)[:, None]).std()


def rare(one):
    return np.mean([GESTURES[name][0] < 0.055 for name in one.gesture])


SIGNS = {
    "light": light,
    "skin": darkness,
    "clutter": lambda one: roughness(one, behind=True),
    "camera": perspective,
    "sensor": lambda one: roughness(one, behind=False),
    "framing": smallness,
    "occlusion": hidden,
    "anatomy": proportions,
    "poses": rare,
}


@pytest.mark.parametrize("dial", FAR)
def test_pictures_show_it(made, dial):
    sign = SIGNS[dial]
    assert sign(made[dial]) > 1.15 * sign(made["source"])
    assert abs(sign(made["source"]) / sign(made["studio"]) - 1) < 0.35
    if dial in ("light", "skin", "clutter", "sensor", "occlusion"):
        for name in ("points", "keypoints", "camera"):
            assert torch.equal(getattr(made[dial], name), getattr(made["source"], name))
    if dial in ("light", "skin", "sensor"):
        assert torch.equal(made[dial].depth, made["source"].depth)
        assert torch.equal(made[dial].visible, made["source"].visible)


def test_half_of_the_clutter_is_there_half_as_often(made):
    cluttered = made["half"].image.float() - made["source"].image.float()
    off = (cluttered.abs().amax(-1) * (made["source"].depth == 0)).amax((1, 2))
    assert 0.3 < (off > 2).float().mean() < 0.7
    assert off[off <= 2].max() <= 1, "a plain wall among cluttered ones is a plain wall"


def test_labels_are_exact_with_all_dials_and_hidden_joints_lie_behind_something(made):
    all_of_it = style(**dict.fromkeys(FAR, 1.0))
    one = render(all_of_it, 0, range(24), SIZE)
    projected = to_pixels(one.points.double(), one.camera.double())[..., :2]
    torch.testing.assert_close(projected, one.keypoints.double(), rtol=0, atol=2e-3)
    inside = ((one.keypoints >= 0) & (one.keypoints < SIZE)).all(-1)
    assert 0.8 < inside.float().mean() < 1
    assert not one.visible[~inside].any()
    occluded = made["source"].visible & ~made["occlusion"].visible
    assert 0.1 < occluded.float().mean() < 0.5
    assert not (made["occlusion"].visible & ~made["source"].visible).any()
    rows, columns = (made["occlusion"].keypoints[..., axis].long() for axis in (1, 0))
    picture = torch.arange(len(rows))[:, None].expand_as(rows)
    before = made["source"].depth[picture, rows, columns] - made["occlusion"].depth[picture, rows, columns]
    assert (before[occluded] > 5).float().mean() > 0.95


def test_the_same_bits_in_any_company_and_form():
    all_of_it = style(**dict.fromkeys(FAR, 1.0))
    together, alone, plain = (
        render(all_of_it, 3, numbers, 40, cull=cull)
        for numbers, cull in ((range(26), True), ([25], True), ([25], False))
    )
    for name in ("image", "depth", "points", "keypoints", "visible"):
        assert torch.equal(getattr(together, name)[25], getattr(alone, name)[0])
        assert torch.equal(getattr(plain, name), getattr(alone, name))


@pytest.mark.parametrize("what", SUBJECTS)
def test_depth_keeps_exact_labels_and_hides_what_is_occluded(what):
    free, barred = (render_depth(what, sensor(occlusion=share), 1, range(16), 64) for share in (0.0, 1.0))
    np.testing.assert_array_equal(free["keypoints"], barred["keypoints"])
    projected = to_pixels(torch.from_numpy(barred["points"]), torch.from_numpy(barred["camera"])).numpy()
    np.testing.assert_allclose(projected, barred["keypoints"], atol=0.05)
    assert barred["visible"].mean() < 0.8 * free["visible"].mean()
    assert not (barred["visible"] & ~free["visible"]).any()


def test_a_share_of_a_sensors_errors():
    clean, half, full = (
        render_depth("hands", sensor(sensor=share, toward="structured_light"), 1, range(8), 64)["depth"]
        for share in (0.0, 0.5, 1.0)
    )
    lost = full == 0
    assert lost.mean() > 0.05
    assert (clean > 0).all()
    assert 0.4 < (half[lost] == 0).mean() < 0.6
    np.testing.assert_allclose((half - clean)[~lost], (full - clean)[~lost] / 2, atol=1e-3)
    exact, facing = np.full((32, 32), 700.0), np.ones((32, 32))
    measure = sensor(sensor=1.0).measure
    rngs = (np.random.default_rng(0) for _ in range(2))
    seen, known = (
        one(exact, facing, 200.0, 1.0, rng) for one, rng in zip((measure, time_of_flight), rngs, strict=True)
    )
    np.testing.assert_array_equal(seen, known)


def test_rare_families_become_common():
    common = [share for share, *_ in GESTURES.values()]
    np.testing.assert_array_equal(family_shares(common, 0.0), common)
    far = family_shares(common, 1.0)
    assert far.sum() == pytest.approx(1)
    order = np.argsort(common, kind="stable")
    assert (np.diff(far[order]) <= 1e-12).all()
    assert far[order[:2]].sum() > 0.4


def test_unusual_subjects_take_possible_poses():
    rng = np.random.default_rng(0)
    for _ in range(60):
        angles, _ = sample_pose(rng, sample_subject(rng, 1.0), 1.0)
        assert (angles >= LIMITS[:, 0] - 1e-9).all()
        assert (angles <= LIMITS[:, 1] + 1e-9).all()
    for _ in range(40):
        angles = sample_body_pose(rng, sample_body(rng, 1.0), 1.0)
        assert (angles >= BODY_LIMITS[:, 0] - 1e-9).all()
        assert (angles <= BODY_LIMITS[:, 1] + 1e-9).all()


@pytest.mark.parametrize("name", ["hands.shifted", "depth_hands.shifted", "depth_bodies.shifted"])
def test_a_set_is_named_by_what_differs(name, tmp_path, monkeypatch):
    monkeypatch.setenv("KEYSHIFT_CACHE", str(tmp_path))

    def opened(**dials):
        return open_dataset(name, options_of(name, {"train": 2, "test": 2, "size": 32, **dials}, "here"), "train")

    known = {"version": 1} | ({"toward": "time_of_flight"} if "depth" in name else {})
    assert opened().identity["dials"] == known
    assert opened(camera=1, poses=0.5).identity == opened(poses=0.5, camera=1.0).identity
    assert opened(camera=1, poses=0.5).identity["dials"] == known | {"camera": 1.0, "poses": 0.5}
    opened()[0], opened(poses=0.0)[1], opened(occlusion=1.0)[0]
    assert len(list(tmp_path.iterdir())) == 2
    assert not np.array_equal(opened()[0].image, opened(occlusion=1.0)[0].image)
    np.testing.assert_array_equal(opened()[0].keypoints, opened(occlusion=1.0)[0].keypoints)
