"""`keyshift evaluate FILE.json LABELS.json` against faster-coco-eval on the same files."""

import json

import numpy as np
import pytest
from faster_coco_eval import COCO, COCOeval_faster

from keyshift.datasets.bodies.skeletons import COCO17
from keyshift.experiments.cli import main
from keyshift.experiments.commands.evaluate_pictures import evaluate_pictures
from keyshift.experiments.runs.progress import Reporter

TEN = ("ap", "ap50", "ap75", "ap_medium", "ap_large", "ar", "ar50", "ar75", "ar_medium", "ar_large")
NINE = ("ap", "ap50", "ap75", "ar", "ar50", "ar75", "ap_easy", "ap_medium_crowd", "ap_hard")
CROWD14 = [f"{s}_{n}" for n in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle") for s in ("left", "right")]
CROWD14 += ["head", "neck"]


def files(folder, names, areas=True, images=30, seed=0):
    """Labels with crowds, people of boxes alone, and pictures of nobody; results near them, twice, and invented."""
    rng = np.random.default_rng(seed)
    pictures, annotations, results = [], [], []
    for n in range(images):
        image = 7 * n + 3
        pictures.append({"id": image, "file_name": f"{n:03d}.jpg", "width": 640, "height": 480})
        if not areas:
            pictures[-1]["crowdIndex"] = float(rng.choice([0.1, 0.15, 0.5, 0.85]))
        for _ in range(rng.integers(0, 5)):
            kind, side = rng.random(), rng.uniform(15, 150)
            points = rng.uniform(50, 350, 2) + rng.uniform(0, side, (len(names), 2))
            flags = 2 * (rng.random(len(names)) > 0.3) * (kind > 0.15)
            box = [*points.min(0), *np.ptp(points, 0)]
            row = {"id": len(annotations) + 1, "image_id": image, "category_id": 1, "iscrowd": int(kind < 0.1)}
            row |= {"keypoints": np.concatenate([points, flags[:, None]], 1).ravel().tolist(), "bbox": box}
            row |= {"num_keypoints": int((flags > 0).sum())} | ({"area": 0.5 * side**2} if areas else {})
            annotations.append(row)
            for _ in range(rng.integers(0, 4)):
                seen = points + rng.normal(0, side * rng.choice([0.01, 0.05, 0.12]), points.shape)
                results.append(result(image, seen, rng))
        for _ in range(rng.integers(0, 3)):
            results.append(result(image, rng.uniform(0, 480, (len(names), 2)), rng))
    category = {"id": 1, "name": "person", "keypoints": list(names), "skeleton": []}
    labels = {"images": pictures, "annotations": annotations, "categories": [category]}
    for name, content in (("labels.json", labels), ("found.json", results)):
        (folder / name).write_text(json.dumps(content))
    return labels, results


def result(image, points, rng):
    row = {"image_id": image, "category_id": 1, "score": float(rng.random())}
    return row | {"keypoints": np.concatenate([points, np.ones((len(points), 1))], 1).ravel().tolist()}


def judged(folder, kind="keypoints", sigmas=None):
    """What faster-coco-eval says of the two files."""
    labels = COCO(str(folder / "labels.json"))
    evaluation = COCOeval_faster(
        labels, labels.loadRes(str(folder / "found.json")), kind, print_function=lambda *_: None
    )
    if sigmas is not None:
        evaluation.params.kpt_oks_sigmas = np.array(sigmas)
    evaluation.use_area = kind == "keypoints"
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return dict(zip(TEN if kind == "keypoints" else NINE, evaluation.all_stats, strict=False))


@pytest.mark.parametrize("boxes", [False, True])
def test_cocos_numbers_of_a_list_of_results(tmp_path, capsys, boxes):
    labels, results = files(tmp_path, COCO17.keypoints)
    if boxes:  # by which COCO's tool knows how large people are
        for row in results:
            row["bbox"] = [0, 0, 50, 3 * row["score"] * 100]
        (tmp_path / "found.json").write_text(json.dumps(results))
    made = evaluate_pictures(tmp_path / "found.json", tmp_path / "labels.json", Reporter())
    wanted = judged(tmp_path)
    assert {name: made[name] for name in TEN} == pytest.approx(wanted, abs=1e-9)
    assert 0.05 < made["ap"] < 0.9
    assert made["ap_medium"] != made["ap_large"]
    assert made["found"] == len(results)
    assert made["labelled"] == sum(row["num_keypoints"] > 0 and not row["iscrowd"] for row in labels["annotations"])
    assert 0 < made["missed"] < made["labelled"]
    assert 0 < made["invented"] < len(results)
    out = " ".join(capsys.readouterr().out.split())
    assert f"{made['missed']} missed, {made['invented']} invented" in out
    assert f"OKS-AP, % │ {100 * made['ap']:.2f}" in out
    assert "areas are of the labels" in out


def test_equally_sure_people_are_taken_by_the_pictures_ids(tmp_path):
    """As COCO's tool does it, however the file lists its pictures."""
    labels, results = files(tmp_path, COCO17.keypoints)
    labels["images"] = labels["images"][::-1]
    for row in results:
        row["score"] = round(row["score"])
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    (tmp_path / "found.json").write_text(json.dumps(results))
    made = evaluate_pictures(tmp_path / "found.json", tmp_path / "labels.json", Reporter())
    assert {name: made[name] for name in TEN} == pytest.approx(judged(tmp_path), abs=1e-9)


def test_labels_without_boxes(tmp_path):
    """Boxes are those of the joints; of whom neither is known nothing is."""
    labels, _ = files(tmp_path, COCO17.keypoints)
    whole = evaluate_pictures(tmp_path / "found.json", tmp_path / "labels.json", Reporter())
    for n, row in enumerate(labels["annotations"]):
        if row["num_keypoints"] and not row["iscrowd"]:
            row["bbox"] = None
            if n % 2:
                del row["bbox"]
    bare = {"id": 9999, "image_id": labels["images"][0]["id"], "category_id": 1, "iscrowd": 0, "num_keypoints": 0}
    labels["annotations"].append(bare)
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    made = evaluate_pictures(tmp_path / "found.json", tmp_path / "labels.json", Reporter())
    assert {name: made[name] for name in TEN} == pytest.approx({name: whole[name] for name in TEN}, abs=1e-9)
    assert made["labelled"] == whole["labelled"]


def test_nobody_found(tmp_path, capsys):
    """An empty list is an answer: everyone is missed."""
    files(tmp_path, COCO17.keypoints)
    (tmp_path / "found.json").write_text("[]")
    made = evaluate_pictures(tmp_path / "found.json", tmp_path / "labels.json", Reporter())
    assert (made["ap"], made["ar"], made["found"], made["invented"]) == (0, 0, 0, 0)
    assert made["missed"] == made["labelled"] > 0
    assert "not in" not in capsys.readouterr().out


def test_categories_by_text_or_number(tmp_path):
    labels, _ = files(tmp_path, COCO17.keypoints)
    by_number = evaluate_pictures(tmp_path / "found.json", tmp_path / "labels.json", Reporter())
    for row in labels["annotations"]:
        row["category_id"] = "1"
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    by_text = evaluate_pictures(tmp_path / "found.json", tmp_path / "labels.json", Reporter())
    assert by_text["labelled"] == by_number["labelled"] > 0
    labels["annotations"][3]["iscrowd"] = "0"
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    with pytest.raises(ValueError, match="annotation 3: iscrowd"):
        evaluate_pictures(tmp_path / "found.json", tmp_path / "labels.json", Reporter())


def test_crowdposes_numbers(tmp_path, capsys):
    files(tmp_path, CROWD14, areas=False, images=60)
    made = evaluate_pictures(tmp_path / "found.json", tmp_path / "labels.json", Reporter())
    sigmas = np.array([0.79, 0.79, 0.72, 0.72, 0.62, 0.62, 1.07, 1.07, 0.87, 0.87, 0.89, 0.89, 0.79, 0.79]) / 10
    for name, value in judged(tmp_path, "keypoints_crowd", sigmas).items():
        assert made[name] == pytest.approx(value, abs=5.1e-5 if name in NINE[6:] else 1e-9), name
    out = capsys.readouterr().out
    assert "AP medium crowds" in out
    assert "0.53 of the boxes'" in out


def test_what_predict_wrote_goes_by_names(tmp_path, capsys):
    """Pictures by their files' names, keypoints by theirs; it is found however both files are ordered."""
    labels, results = files(tmp_path, COCO17.keypoints)
    list_of_results = evaluate_pictures(tmp_path / "found.json", tmp_path / "labels.json", Reporter())
    order = np.random.default_rng(1).permutation(17)
    numbers = {image["id"]: n for n, image in enumerate(labels["images"])}
    count = len(numbers)
    images = [
        {"id": count - n, "file_name": f"pictures/{n:03d}.jpg", "width": 640, "height": 480} for n in range(count)
    ]
    rows = [
        row
        | {
            "image_id": count - numbers[row["image_id"]],
            "keypoints": np.reshape(row["keypoints"], (17, 3))[order].ravel().tolist(),
        }
        for row in results
    ]
    category = {"id": 1, "name": "person", "keypoints": [COCO17.keypoints[k] for k in order]}
    content = {"images": images[:-1], "annotations": rows, "categories": [category]}
    content["annotations"] = [row for row in rows if row["image_id"] != 1]
    (tmp_path / "predicted.json").write_text(json.dumps(content))
    kept = [row for row in results if numbers[row["image_id"]] != count - 1]
    (tmp_path / "found.json").write_text(json.dumps(kept))
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "predicted.json"), str(tmp_path / "labels.json")]) == 0
    out = capsys.readouterr().out
    assert f"1 of {count} labelled pictures are not in" in out
    assert f"{100 * judged(tmp_path)['ap']:.2f}" in out
    assert judged(tmp_path)["ap"] != list_of_results["ap"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[0].pop("score"), "entry 0.*score.*missing"),
        (lambda rows: rows[1].update(keypoints=[1, 2, 3]), "entry 1.*keypoints"),
        (lambda rows: [row.update(image_id=-5) for row in rows], "none of its pictures"),
        (lambda rows: [row.update(file_name="elsewhere.jpg") for row in rows], "none of its pictures"),
    ],
)
def test_wrong_files_are_refused(tmp_path, change, message):
    _, results = files(tmp_path, COCO17.keypoints)
    change(results)
    (tmp_path / "found.json").write_text(json.dumps(results))
    with pytest.raises(ValueError, match=message):
        evaluate_pictures(tmp_path / "found.json", tmp_path / "labels.json", Reporter())


def test_people_in_the_plane_are_sent_to_labels(tmp_path, capsys):
    labels, _ = files(tmp_path, COCO17.keypoints)
    content = labels | {"annotations": [row | {"score": 1.0} for row in labels["annotations"]]}
    (tmp_path / "predicted.json").write_text(json.dumps(content))
    assert main(["evaluate", str(tmp_path / "predicted.json"), "people.lab", "train=1", "test=1"]) == 2
    assert "LABELS.json" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path / "predicted.json"), str(tmp_path / "labels.json"), "--by", "action"]) == 2
    assert "--by" in capsys.readouterr().err
