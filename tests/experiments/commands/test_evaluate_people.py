"""Predicted people in space against a labelled set, from files: hand-made cases, and loops over people."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from keyshift.datasets.bodies.skeletons import H36M17, MPI3DHP17
from keyshift.datasets.reading.people import PictureSet, table
from keyshift.experiments.cli import main
from keyshift.experiments.commands import evaluate_people as command
from keyshift.experiments.commands.evaluate_people import evaluate_people
from keyshift.experiments.commands.people_file import places
from keyshift.experiments.runs.progress import Reporter

CAMERA = np.array([500.0, 500, 320, 240])
BODIES = np.random.default_rng(0).uniform(-400, 400, (6, 17, 3))
BODIES[:, 0] = 0


def project(points):
    return points[..., :2] / points[..., 2:] * CAMERA[:2] + CAMERA[2:]


def at(person, x, z=4000.0):
    return BODIES[person] + [x, 0, z]


TRUTH = {"a/0.jpg": [at(0, -1200), at(1, 1200)], "a/1.jpg": [at(2, 0)], "b/0.jpg": [at(3, 0, 5000.0), at(4, 2600)]}
"""The last person is beyond the border of a picture 640 wide with most of the joints."""


def write(path, people, skeleton=H36M17, roots=True, more=()):
    """{picture: [(points, score)]} as predict writes it."""
    images = [{"id": n + 1, "file_name": name, "width": 640, "height": 480} for n, name in enumerate([*people, *more])]
    entries = []
    for number, own in enumerate(people.values()):
        for points, score in own:
            flat = project(points) - 0.5
            entry = {
                **{"id": len(entries) + 1, "image_id": number + 1, "score": score},
                "keypoints": [v for x, y in flat.tolist() for v in (x, y, 2)],
                "keypoints_mm": points.tolist(),
            }
            entries.append(entry | ({"root_mm": points[skeleton.root].tolist()} if roots else {}))
    categories = [{"id": 1, "keypoints": list(skeleton.keypoints)}]
    path.write_text(json.dumps({"images": images, "annotations": entries, "categories": categories}))
    return path


@pytest.fixture
def labelled(tmp_path, monkeypatch):
    """Opens TRUTH, or other people, whatever set is asked for."""
    folder = tmp_path / "pictures"

    def make(truth=TRUTH, skeleton=H36M17, sequence=lambda name: name[0]):
        rows = []
        for name, own in truth.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()  # the numbers need no picture, only a set to be where it says
            known = np.ones(len(skeleton), bool)
            for n, points in enumerate(own):
                rows.append(
                    {
                        **{"picture": name, "id": f"{name}/{n}", "sequence": sequence(name), "frame": n},
                        **{"keypoints": project(points), "annotated": known, "visible": known},
                        **{"camera": CAMERA, "points": points},
                    }
                )
        made = PictureSet("made", folder, table("made.json", skeleton, rows), {})
        monkeypatch.setattr(command, "open_dataset", lambda *_: made)
        return made

    return make


def scored(path, by=None):
    return evaluate_people(path, ["people.wild"], Reporter(), by)


def sure(people):
    return {name: [(points, 0.9) for points in own] for name, own in people.items()}


def test_the_truth_itself(tmp_path, labelled):
    labelled()
    result = scored(write(tmp_path / "p.json", sure(TRUTH)))
    assert (result["labelled"], result["missed"], result["invented"]) == (5, 0, 0)
    errors = ("mm", "pa_mm", "n_mm", "absolute_mm", "mrpe", "mrpe_x", "mrpe_z", "protocol1_mm", "protocol2_mm")
    assert [result[name] for name in errors] == pytest.approx([0] * len(errors), abs=1e-6)
    shares = ("pck_150mm", "pck_150mm_all", "absolute_pck_150mm_all", "absolute_auc_150mm", "ap_root_25")
    assert [result[name] for name in shares] == pytest.approx([1] * len(shares))
    assert result["rootnet_ap_25"] == pytest.approx(0.8)  # RootNet's sum leaves out the first of five


def test_against_a_loop(tmp_path, labelled):
    labelled()
    rng = np.random.default_rng(1)
    moved = {
        name: [(p + rng.normal(0, 40, p.shape) + [0, 0, rng.normal(0, 200)], 0.9) for p in own]
        for name, own in TRUTH.items()
    }
    result = scored(write(tmp_path / "p.json", moved))
    pairs = [(a, b) for name in TRUTH for (a, _), b in zip(moved[name], TRUTH[name], strict=True)]
    relative = [math.dist(a[k] - a[0], b[k] - b[0]) for a, b in pairs for k in range(17)]
    absolute = [math.dist(a[k], b[k]) for a, b in pairs for k in range(17)]
    assert result["mm"] == pytest.approx(np.mean(relative))
    assert result["absolute_mm"] == pytest.approx(np.mean(absolute))
    assert result["mrpe"] == pytest.approx(np.mean([math.dist(a[0], b[0]) for a, b in pairs]))
    assert result["mrpe_z"] == pytest.approx(np.mean([abs(a[0, 2] - b[0, 2]) for a, b in pairs]))
    limbs = [math.dist(a[k] - a[0], b[k] - b[0]) for a, b in pairs for k in range(1, 17)]
    assert result["pck_150mm"] == result["pck_150mm_all"] == pytest.approx(np.mean([e <= 150 for e in limbs]))
    assert result["absolute_pck_150mm"] == pytest.approx(np.mean([e <= 150 for e in absolute]))
    assert 0 < result["absolute_pck_150mm"] < 1


def test_one_person_missed(tmp_path, labelled):
    labelled()
    people = sure(TRUTH) | {"a/0.jpg": [(TRUTH["a/0.jpg"][0], 0.9)]}
    result = scored(write(tmp_path / "p.json", people))
    assert (result["missed"], result["invented"]) == (1, 0)
    assert result["mm"] == pytest.approx(0, abs=1e-6)  # no error of whom nobody saw
    assert result["pck_150mm"] == 1
    assert result["pck_150mm_all"] == result["absolute_auc_150mm_all"] == pytest.approx(4 / 5)
    assert result["ap_root_25"] == pytest.approx(4 / 5)


def test_two_predictions_for_one_person(tmp_path, labelled):
    labelled()
    worse = TRUTH["a/1.jpg"][0] + 20.0
    result = scored(write(tmp_path / "p.json", sure(TRUTH) | {"a/1.jpg": [(worse, 0.3), (TRUTH["a/1.jpg"][0], 0.9)]}))
    assert (result["missed"], result["invented"]) == (0, 1)
    assert result["mm"] == result["mrpe"] == pytest.approx(0, abs=1e-6)  # the surer one is taken
    assert result["ap_root_25"] == pytest.approx(1)  # the false one comes after all true ones
    result = scored(write(tmp_path / "p.json", sure(TRUTH) | {"a/1.jpg": [(worse, 0.95), (TRUTH["a/1.jpg"][0], 0.9)]}))
    assert result["mrpe"] == pytest.approx(math.sqrt(3) * 20 / 5)
    assert result["ap_root_25"] < 1


def test_nobody_in_a_picture(tmp_path, labelled, capsys):
    labelled()
    result = scored(write(tmp_path / "p.json", sure(TRUTH) | {"a/0.jpg": []}))
    assert result["missed"] == 2
    assert result["pck_150mm_all"] == pytest.approx(3 / 5)
    result = scored(write(tmp_path / "p.json", dict.fromkeys(TRUTH, ())))
    assert result["missed"] == 5
    assert math.isnan(result["mm"])
    assert result["pck_150mm_all"] == result["ap_root_25"] == 0
    assert "nan" not in capsys.readouterr().out


def test_pictures_that_one_side_has(tmp_path, labelled, capsys):
    labelled()
    some = {name: own for name, own in sure(TRUTH).items() if name != "a/1.jpg"} | {"c/9.jpg": [(at(5, 0), 0.99)]}
    result = scored(write(tmp_path / "p.json", some))
    said = " ".join(capsys.readouterr().out.split())
    assert (result["labelled"], result["missed"], result["invented"]) == (5, 1, 0)
    assert "1 pictures of" in said
    assert "1 of 3 labelled pictures are not in" in said
    with pytest.raises(ValueError, match="none of its pictures"):
        scored(write(tmp_path / "p.json", {"c/9.jpg": [(at(5, 0), 0.99)]}))


def test_a_person_out_of_the_frame(tmp_path, labelled):
    labelled()
    outside = project(TRUTH["b/0.jpg"][1])
    assert (outside[:, 0] > 640).sum() > 8
    people = sure(TRUTH) | {"b/0.jpg": [(TRUTH["b/0.jpg"][1] + [30.0, 0, 0], 0.5)]}
    result = scored(write(tmp_path / "p.json", people))
    assert result["missed"] == 1  # the other one: joints beyond the border tell people apart too
    assert result["mrpe_x"] == pytest.approx(30 / 4)


def test_a_depth_that_is_far_off_is_an_error_and_no_miss(tmp_path, labelled):
    labelled()
    far = {name: [(1.5 * p, 0.9) for p in own] for name, own in TRUTH.items()}  # the same pictures of larger people
    result = scored(write(tmp_path / "p.json", far))
    assert result["missed"] == result["invented"] == 0
    assert result["mrpe_z"] == pytest.approx((4 * 2000 + 2500) / 5)
    assert result["ap_root_25"] == 0
    assert result["pa_mm"] == pytest.approx(0, abs=1e-6)


def test_somebody_whom_the_set_leaves_out_takes_nobodys_place(tmp_path, labelled):
    truth = {"a/0.jpg": [at(0, 0)]}
    labelled(truth)
    behind = np.concatenate([BODIES[1][:1], 0.5 * BODIES[1][1:]]) + np.array([250, 0, 7000])
    result = scored(write(tmp_path / "p.json", {"a/0.jpg": [(behind, 0.99), (truth["a/0.jpg"][0], 0.5)]}))
    assert (result["missed"], result["invented"]) == (0, 1)
    assert result["mrpe"] == pytest.approx(0, abs=1e-9)


def test_without_roots_the_keypoint_stands_for_it(tmp_path, labelled, capsys):
    labelled()
    result = scored(write(tmp_path / "p.json", sure(TRUTH), roots=False))
    assert "has no root_mm" in " ".join(capsys.readouterr().out.split())
    assert result["mrpe"] == pytest.approx(0, abs=1e-9)


def test_keypoints_are_paired_by_name(tmp_path, labelled):
    skeleton = H36M17.select(H36M17.keypoints[::-1][3:])
    labelled()
    order = [H36M17.keypoints.index(name) for name in skeleton.keypoints]
    people = {name: [(p[order], 0.9) for p in own] for name, own in TRUTH.items()}
    result = scored(write(tmp_path / "p.json", people, skeleton))
    assert result["mm"] == result["absolute_mm"] == pytest.approx(0, abs=1e-6)
    assert "protocol1_mm" not in result


def test_by_sequence_and_action(tmp_path, labelled):
    truth = {f"S9_{n}.jpg": own for n, own in zip((0, 1, 2), TRUTH.values(), strict=True)}
    labelled(truth, sequence=lambda name: f"human36m/S9/{ {'0': '14', '1': '02', '2': '14'}[name[3]] }_01/1")
    people = sure(truth) | {"S9_2.jpg": [(truth["S9_2.jpg"][0] + [0, 0, 60.0], 0.9)]}
    path = write(tmp_path / "p.json", people)
    groups = scored(path, "action")["by"]
    assert list(groups) == ["Directions", "Walking"]
    assert groups["Walking"]["labelled"] == 4
    assert groups["Walking"]["missed"] == 1
    assert groups["Walking"]["mrpe"] == pytest.approx(60 / 3)
    assert groups["Directions"]["mrpe"] == pytest.approx(0, abs=1e-9)
    assert list(scored(path, "sequence")["by"]) == ["human36m/S9/02_01/1", "human36m/S9/14_01/1"]


def test_actions_of_a_set_that_has_none(tmp_path, labelled):
    labelled()
    with pytest.raises(ValueError, match="is of no action"):
        scored(write(tmp_path / "p.json", sure(TRUTH)), "action")


@pytest.mark.parametrize("neck", ["neck", "thorax"])
def test_mupots_by_its_own_protocol(tmp_path, labelled, neck):
    """Also where the neck has the references' name, with rename={neck: thorax}."""
    names = tuple(neck if name == "neck" else name for name in MPI3DHP17.keypoints)
    skeleton = replace(MPI3DHP17, keypoints=names)
    bodies = np.random.default_rng(3).uniform(-400, 400, (3, 17, 3)) + np.array([0, 0, 4000])
    bodies[:, 14] = [0, 0, 4000]
    truth = {
        "TS1/img_000000.jpg": [bodies[0] - [1500, 0, 0], bodies[1] + [1500, 0, 0]],
        "TS10/img_000000.jpg": [bodies[2]],
    }
    labelled(
        {f"MultiPersonTestSet/{name}": own for name, own in truth.items()},
        skeleton,
        lambda name: f"mupots/{name.split('/')[1]}",
    )
    people = sure(truth) | {"TS1/img_000000.jpg": [(truth["TS1/img_000000.jpg"][0] + [0, 0, 400.0], 0.9)]}
    result = scored(write(tmp_path / "p.json", people, skeleton), "sequence")
    # Of TS1 one of two people is missed, and the other one is 400 mm too far; TS10 is as it should be.
    assert result["mupots"]["3DPCK, relative, all"] == pytest.approx((0.5 + 1) / 2)
    assert result["mupots"]["3DPCK, relative, matched"] == pytest.approx(1)
    assert result["mupots"]["3DPCK, absolute, all"] == pytest.approx((0 + 1) / 2)
    assert list(result["by"]) == ["TS1", "TS10"]
    assert result["by"]["TS1"]["mrpe_z"] == pytest.approx(400)


def test_files_and_sets_that_do_not_fit(tmp_path, labelled):
    labelled()
    path = write(tmp_path / "p.json", sure(TRUTH), H36M17)
    content = json.loads(path.read_text())
    for entry in content["annotations"]:
        del entry["keypoints_mm"]
    flat = tmp_path / "flat.json"
    flat.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="keypoints_mm"):
        scored(flat)
    with pytest.raises(ValueError, match="name the labelled set"):
        evaluate_people(path, [], Reporter())
    content["categories"][0]["keypoints"][0] = "hips"
    flat.write_text(json.dumps(content | {"annotations": []}))
    with pytest.raises(ValueError, match="the root of made is pelvis"):
        scored(flat)
    made = labelled()
    made.people = replace(made.people, points=None)
    with pytest.raises(ValueError, match="no points in mm"):
        scored(path)


def test_names_of_pictures():
    labelled = ["MultiPersonTestSet/TS1/img_000000.jpg", "MultiPersonTestSet/TS2/img_000000.jpg", "clip.mp4#3"]
    assert places(["TS2/img_000000.png", "clip.mp4#3", "clip.mp4#4", "other.jpg"], labelled) == [1, 2, -1, -1]
    assert places(["/data/MultiPersonTestSet/TS1/img_000000.jpg"], labelled) == [0]
    with pytest.raises(ValueError, match="may be MultiPersonTestSet"):
        places(["img_000000.jpg"], labelled)
    with pytest.raises(ValueError, match="are both"):
        places(["TS1/img_000000.jpg", "TS1/img_000000.png"], labelled)


def test_on_the_command_line(tmp_path, labelled, capsys):
    labelled()
    path = write(tmp_path / "p.json", sure(TRUTH))
    assert main(["evaluate", str(path), "people.wild", "--by", "sequence"]) == 0
    said = capsys.readouterr().out
    assert "MRPE z, mm" in said
    assert "by sequence" in said
    assert main(["evaluate", str(path), "people.wild", "siz=3"]) == 2
    assert "Did you mean size?" in capsys.readouterr().err
    assert main(["evaluate", str(Path(tmp_path / "none.json")), "people.wild"]) == 2
