import gzip
import math

import h5py
import numpy as np
import pytest
import scipy.io
import torch

from keyshift.datasets.depth.sets import DEPTH_SETS
from keyshift.experiments.commands import evaluate_files as module
from keyshift.experiments.commands.evaluate_files import evaluate_files, read_camera
from keyshift.experiments.commands.result_files import Form, read, read_frames
from keyshift.experiments.runs.progress import Reporter

# Each set's own numbers: pixels count from 0 and fy may be negative.
ICVL, NYU = (240.99, 240.96, 160, 120), (588.03, 587.07, 320, 240)


@pytest.fixture
def reporter():
    return Reporter()


def lines(values, names=None, gap=" "):
    rows = [gap.join(f"{v:.6f}" for v in frame.reshape(-1)) for frame in values]
    return "\n".join(f"{name}{gap}{row}" for name, row in zip(names, rows, strict=True)) if names else "\n".join(rows)


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.write_text(text if isinstance(text, str) else lines(text), newline="")
        return path

    return write


@pytest.fixture
def hands():
    """(predictions, truth) (6, 16, 3) u v d in ICVL's frame."""
    rng = np.random.default_rng(0)
    truth = rng.uniform([80, 60, 250], [240, 180, 450], (6, 16, 3))
    return truth + rng.normal(0, [6, 6, 9], truth.shape), truth


def space(u, v, d, camera):
    fx, fy, cx, cy = camera
    return ((u - cx) * d / fx, (v - cy) * d / fy, d)


def away(predicted, truth, camera):
    return np.array(
        [
            [math.dist(space(*p, camera), space(*t, camera)) for p, t in zip(a, b, strict=True)]
            for a, b in zip(predicted, truth, strict=True)
        ]
    )


@pytest.mark.parametrize(
    ("file", "published"),
    [("CVPR14_LRF_Results", 12.58), ("IJCAI16_ICVL_DeepModel", 11.56), ("ICIP17_ICVL_REN_4x6x6", 7.63)],
)
def test_published_results_on_icvl(shared, reporter, capsys, file, published):
    folder = shared / "data/hand_depth_labels"
    predictions = folder / f"results/icvl/{file}.txt"
    truth = folder / "groundtruth/icvl/icvl_test_groundtruth_label.txt"
    scores = evaluate_files(predictions, truth, "icvl", reporter)
    assert round(scores["mean_error"], 2) == published
    assert f" {published:.2f} " in capsys.readouterr().out
    values = [np.fromstring(path.read_text(), sep=" ").reshape(-1, 16, 3) for path in (predictions, truth)]
    xyz = [np.stack(space(*np.moveaxis(v, -1, 0), ICVL), -1) for v in values]
    errors = np.linalg.norm(xyz[0] - xyz[1], axis=-1)
    assert scores["frames"] == 1596
    assert scores["mean_error"] == pytest.approx(errors.mean(), rel=1e-9)
    assert list(scores["joints"].values()) == pytest.approx(errors.mean(0).tolist(), rel=1e-9)
    for t in (10, 20, 30, 40, 50, 80):
        assert scores["success"][str(t)] == pytest.approx((errors.max(1) <= t).mean())
    assert scores["auc"] == pytest.approx((1 - errors.max(1) / 80).clip(0).mean())
    assert scores["map_10cm"] == pytest.approx((errors < 100).mean())


def test_icvl_lists_with_names_and_odd_line_ends(shared, reporter, tmp_path):
    folder = shared / "data/hand_depth_labels/groundtruth/icvl"
    named = folder / "test_seq_1.txt"
    assert named.read_bytes().endswith(b"\r\r\n")
    plain = tmp_path / "plain.txt"
    whole = (folder / "icvl_test_groundtruth_label.txt").read_text().splitlines()
    plain.write_text("\n".join(whole[:702]))
    scores = evaluate_files(plain, named, "icvl", reporter)
    assert scores["frames"] == 702
    assert scores["mean_error"] < 1e-3


def test_nyu_truth_against_itself(shared, reporter):
    path = shared / "data/hand_depth_labels/groundtruth/nyu/nyu_test_groundtruth_label.txt"
    assert read_frames(path, 14).values.shape == (8252, 14, 3)
    scores = evaluate_files(path, path, "nyu", reporter)
    assert scores["mean_error"] == 0
    assert scores["auc"] == scores["awr_auc"] == scores["map_10cm"] == scores["success"]["10"] == 1


def test_itop_labels_through_the_text_format(shared, reporter, write, capsys):
    folder = shared / "data/body_depth_labels_itop/itop_side"
    metres = scipy.io.loadmat(folder / "itop_side_keypoints3D_test.mat")["keypoints3D"].astype(np.float64)
    x, y, z = np.moveaxis(metres, -1, 0)
    truth = np.stack([160 + x / z / 0.0035, 120 - y / z / 0.0035, 1000 * z], -1)
    path = write("itop.txt", truth)
    held = module.in_space(read_frames(path, 15).values, "uvd", DEPTH_SETS["itop"].camera)
    np.testing.assert_allclose(held.numpy(), metres * [1000, -1000, 1000], atol=0.01)
    scores = evaluate_files(path, path, "itop", reporter)
    assert scores["map_10cm"] == 1
    assert "│ shoulders │" in capsys.readouterr().out
    moved = truth.copy()
    moved[: len(truth) // 2, 6, 2] += 101  # the right hand, half of the time
    scores = evaluate_files(write("moved.txt", moved), path, "itop", reporter)
    half = (len(truth) // 2) / len(truth)
    assert scores["groups_10cm"]["hands"] == pytest.approx(1 - half / 2)
    assert scores["map_10cm"] == pytest.approx(1 - half / 15)


@pytest.mark.parametrize("name", ["icvl", "nyu"])
def test_against_loops(hands, write, reporter, name):
    joints = len(DEPTH_SETS[name].skeleton)
    predicted, truth = (values[:, :joints] for values in hands)
    scores = evaluate_files(write("p", predicted), write("t", truth), name, reporter)
    errors = away(predicted, truth, ICVL if name == "icvl" else NYU)
    assert scores["mean_error"] == pytest.approx(errors.mean(), abs=1e-4)
    assert list(scores["joints"]) == list(DEPTH_SETS[name].skeleton.keypoints)
    assert list(scores["joints"].values()) == pytest.approx(errors.mean(0).tolist(), abs=1e-4)
    assert scores["groups"]["all"] == pytest.approx(errors.mean(), abs=1e-4)


def test_pixels_count_from_the_middle_of_the_first(hands):
    points = module.in_space(hands[1], "uvd", DEPTH_SETS["icvl"].camera)
    wanted = [[space(*joint, ICVL) for joint in frame] for frame in hands[1]]
    np.testing.assert_allclose(points.numpy(), wanted, atol=1e-9)


def test_a_byte_order_mark_is_no_name(hands, write, reporter):
    marked, plain = write("p", "\ufeff" + lines(hands[0])), write("t", hands[1])
    assert not read_frames(marked, 16).names
    assert evaluate_files(marked, plain, "icvl", reporter)["mean_error"] > 0


@pytest.mark.parametrize("gap", [",", ", ", "\t", "  "])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n\n", " \r\n"])
def test_separators_and_line_ends(hands, write, reporter, gap, end):
    text = lines(hands[0], gap=gap).replace("\n", end if end.count("\n") == 1 else "\n") + end
    scores = evaluate_files(write("p", text), write("t", hands[1]), "icvl", reporter)
    assert scores["mean_error"] == pytest.approx(away(*hands, ICVL).mean(), abs=1e-4)


def test_frames_are_paired_by_name(hands, write, reporter):
    predicted, truth = hands
    names = [f"0_{n}" for n in range(6)]  # Python alone would read these as numbers
    order = [3, 1, 5, 0, 2, 4]
    shuffled = write("p", lines(predicted[order], [names[n] for n in order]))
    named = write("t", lines(truth, names))
    wanted = pytest.approx(away(predicted, truth, ICVL).mean(), abs=1e-4)
    assert evaluate_files(shuffled, named, "icvl", reporter)["mean_error"] == wanted
    assert evaluate_files(shuffled, write("plain", truth), "icvl", reporter)["mean_error"] != wanted


def test_joints_of_three_zeros_do_not_count(hands, write, reporter):
    predicted, truth = hands
    truth[2, 5] = truth[:, 9] = truth[4] = 0
    scores = evaluate_files(write("p", predicted), write("t", truth), "icvl", reporter)
    counted = truth[..., 2] > 0
    errors = away(predicted, truth, ICVL)
    assert scores["mean_error"] == pytest.approx(errors[counted].mean(), abs=1e-4)
    assert math.isnan(scores["joints"]["middle_tip"])
    worst = [errors[n][counted[n]].max() for n in range(6) if n != 4]
    assert scores["success"]["80"] == pytest.approx(np.mean([w <= 80 for w in worst]))
    assert scores["success"]["40"] == pytest.approx(np.mean([w <= 40 for w in worst]))


def test_camera_millimetres(write, reporter):
    rng = np.random.default_rng(1)
    truth = rng.uniform([-150, -150, 300], [150, 150, 900], (5, 21, 3))
    predicted = truth + rng.normal(0, 9, truth.shape)
    names = [f"image_D{n:08d}.png" for n in range(5)]
    paths = write("p", lines(predicted, names, "\t")), write("t", lines(truth, names, "\t"))
    wanted = np.linalg.norm(predicted - truth, axis=-1).mean()
    for asked in (None, "xyz"):
        scores = evaluate_files(*paths, "hands2017", reporter, asked)
        assert scores["space"] == "xyz"
        assert scores["mean_error"] == pytest.approx(wanted, abs=1e-4)
    with pytest.raises(ValueError, match=r"t: \d+ of 105 joints lie outside of the 640 x 480 frame.*--space xyz"):
        evaluate_files(*paths, "hands2017", reporter, "uvd")
    with pytest.raises(ValueError, match="space='uvz' is not known; expected one of uvd, xyz"):
        evaluate_files(*paths, "hands2017", reporter, "uvz")


def swap(line, word, new):
    def change(rows):
        words = rows[line - 1].split()
        words[word] = new
        rows[line - 1] = " ".join(words)
        return "\n".join(rows)

    return change


NAMES = [f"a/{n}.png" for n in range(6)]
MALFORMED = [
    (lambda rows: "", None, "is empty; expected one frame a line, 48 numbers each"),
    (lambda rows: " \n\n", None, "is empty"),
    (
        lambda rows: "\n".join([*rows[:3], rows[3] + " 1", *rows[4:]]),
        None,
        r"line 4: found 49 numbers, expected 48",
    ),
    (lambda rows: "\n".join([*rows[:3], rows[3][:-30], *rows[4:]]), None, r"line 4: found 4\d numbers, expected 48"),
    (lambda rows: "\n".join([rows[0] + " 1", *rows[1:]]), NAMES, "line 1: found 49 numbers after the name 'a/0.png'"),
    (lambda rows: "\n".join([rows[0], "", *rows[1:]]), None, "line 2: the line is empty; expected 48 numbers"),
    (swap(2, 7, "1.2.3"), None, "line 2: '1.2.3' is no finite number"),
    (swap(2, 7, "nan"), None, "line 2: 'nan' is no finite number"),
    (swap(6, 47, "-inf"), None, "line 6: '-inf' is no finite number"),
    (swap(6, 47, "1e999"), None, "line 6: '1e999' is no finite number"),
    (swap(6, 47, "1_0"), None, "line 6: '1_0' is no finite number"),
    (swap(6, 47, "__import__('os')"), None, "is no finite number"),
    (swap(1, 0, "nan"), None, "line 1: 'nan' is no finite number"),
    (swap(3, 0, "a.png"), None, "line 3 begins with a name .'a.png'., the first line does not; expected one on each"),
    (swap(3, 0, "7"), NAMES, "line 3 does not begin with a name .'7'., the first line does;"),
    (swap(3, 0, "a/1.png"), NAMES, "line 3: 'a/1.png' stands on line 2 already"),
]


@pytest.mark.parametrize("side", ["predictions", "truth"])
@pytest.mark.parametrize(("change", "names", "message"), MALFORMED)
def test_malformed_texts(hands, write, reporter, side, change, names, message):
    bad = write("bad.txt", change(lines(hands[1], names).split("\n")))
    good = write("good.txt", lines(hands[1], names))
    pair = (bad, good) if side == "predictions" else (good, bad)
    with pytest.raises(ValueError, match=rf"bad\.txt.*{message}"):
        evaluate_files(*pair, "icvl", reporter)


def test_missing_and_binary_files(hands, write, reporter, tmp_path):
    good = write("good.txt", hands[1])
    binary = tmp_path / "image.png"
    binary.write_bytes(bytes(range(256)))
    for path, message in (
        (tmp_path / "none.txt", r"no file .*none\.txt"),
        (tmp_path, "no file"),
        (binary, r"image\.png is not a text.*expected one frame a line"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate_files(path, good, "icvl", reporter)
        with pytest.raises(ValueError, match=message):
            evaluate_files(good, path, "icvl", reporter)


def test_different_frames(hands, write, reporter):
    with pytest.raises(ValueError, match=r"p has 5 frames, .*t has 6"):
        evaluate_files(write("p", hands[0][:5]), write("t", hands[1]), "icvl", reporter)
    other = ["a/x.png", *NAMES[1:5], "a/y.png"]
    paths = write("p", lines(hands[0], other)), write("t", lines(hands[1], NAMES))
    with pytest.raises(ValueError, match=r"t, line 1: .*p has no frame 'a/0.png' \(2 such\)"):
        evaluate_files(*paths, "icvl", reporter)
    more = write("more", lines(np.concatenate([hands[0], hands[0][:1]]), [*NAMES, "a/6.png"]))
    with pytest.raises(ValueError, match=r"more, line 7: .*t has no frame 'a/6.png' \(1 such\)"):
        evaluate_files(more, paths[1], "icvl", reporter)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nyuu", "no depth dataset 'nyuu'; known: nyu, icvl.*Did you mean nyu"),
        ("HANDS17", "Did you mean hands2017"),
        ("imagenet", r"known: nyu, icvl, msra, hands2017, itop\.$"),
    ],
)
def test_unknown_dataset(tmp_path, reporter, name, message):
    with pytest.raises(ValueError, match=message):
        evaluate_files(tmp_path, tmp_path, name, reporter)


@pytest.mark.parametrize("depth", [0.0, -300.0])
def test_depths_that_cannot_be(hands, write, reporter, depth):
    good = write("good", hands[1])
    hands[1][3, 2, 2] = depth
    bad = write("bad", hands[1])
    with pytest.raises(ValueError, match=rf"bad, line 4: joint 3 is .* {depth:g}; true depths must be above 0"):
        evaluate_files(good, bad, "icvl", reporter)
    with pytest.raises(ValueError, match=rf"bad, line 4: joint 3 is .* {depth:g}; predicted depths must be above 0"):
        evaluate_files(bad, good, "icvl", reporter)
    hands[1][3, 2] = 0
    with pytest.raises(ValueError, match="bad, line 4: joint 3 is 0 0 0; predicted"):
        evaluate_files(write("bad", hands[1]), good, "icvl", reporter)


def test_metres_are_refused(hands, write, reporter):
    good = write("good", hands[1])
    metres = write("metres", hands[1] * [1, 1, 0.001])
    for pair in ((good, metres), (metres, good)):
        with pytest.raises(
            ValueError, match=r"metres: no depth exceeds 0\.\d+; expected mm, is this metres. Say --unit m"
        ):
            evaluate_files(*pair, "icvl", reporter)


def test_nothing_annotated_is_nan(hands, write, reporter, capsys):
    scores = evaluate_files(write("p", hands[0]), write("t", 0 * hands[1]), "icvl", reporter)
    assert all(math.isnan(scores[name]) for name in ("mean_error", "auc", "awr_auc", "map_10cm"))
    assert torch.tensor(list(scores["success"].values())).isnan().all()
    assert "nan" in capsys.readouterr().out


@pytest.mark.parametrize("head", ["image,u0,v0,d0\n", "# u v d\n# of mine\n", "6\n"])
def test_heads_of_texts(hands, write, reporter, head):
    headed, plain = write("p", head + lines(hands[0], gap=",")), write("t", hands[1])
    wanted = pytest.approx(away(*hands, ICVL).mean(), abs=1e-4)
    assert evaluate_files(headed, plain, "icvl", reporter)["mean_error"] == wanted
    hands[0][4, 2, 2] = -1
    with pytest.raises(ValueError, match=rf"p, line {5 + head.count(chr(10))}: joint 3"):
        evaluate_files(write("p", head + lines(hands[0])), plain, "icvl", reporter)


@pytest.mark.parametrize("f", ["241.42", "241.42,241.42", "241.42, -241.42 160 120"])
def test_another_camera(hands, write, reporter, f, capsys):
    scores = evaluate_files(write("p", hands[0]), write("t", hands[1]), "icvl", reporter, camera=f)
    assert scores["mean_error"] == pytest.approx(away(*hands, (241.42, 241.42, 160, 120)).mean(), abs=1e-4)
    assert "camera fx, fy, cx, cy: 241.42, 241.42, 160, 120, as asked for" in capsys.readouterr().out


@pytest.mark.parametrize("f", ["", "wide", "0", "1,2,3", "nan", "1,2,3,4,5"])
def test_no_camera(f):
    with pytest.raises(
        ValueError, match=r"camera=.* must be f, or fx,fy, or fx,fy,cx,cy in pixels; for example 241\.42"
    ):
        read_camera(f, DEPTH_SETS["icvl"].camera)


def test_the_published_rows_of_another_camera(shared, reporter):
    folder = shared / "data/hand_depth_labels"
    paths = (
        folder / "results/icvl/ICIP17_ICVL_REN_4x6x6.txt",
        folder / "groundtruth/icvl/icvl_test_groundtruth_label.txt",
    )
    own, other = (evaluate_files(*paths, "icvl", reporter, camera=f)["mean_error"] for f in (None, "241.42"))
    assert 0 < own - other < 0.01


def as_file(path, values, kind):
    """`values` (N, K, 3) as a file of the `kind`."""
    if kind == ".gz":
        path.write_bytes(gzip.compress(lines(values).encode()))
    elif kind == ".npy":
        np.save(path, values.astype(np.float32))
    elif kind == ".npz":
        np.savez(path, some=values.reshape(len(values), -1))
    elif kind == ".mat":
        scipy.io.savemat(path, {"centre": values[:, 0], "keypoints": values})
    else:
        path.write_text(f"{len(values)}\n{lines(values)}")  # as MSRA's joint.txt
    return path


@pytest.mark.parametrize("kind", [".gz", ".npy", ".npz", ".mat", ".txt"])
def test_files_of_every_kind(hands, write, reporter, tmp_path, kind):
    wanted = pytest.approx(away(*hands, ICVL).mean(), abs=1e-3)
    stored, plain = as_file(tmp_path / f"p{kind}", hands[0], kind), write("t", hands[1])
    assert evaluate_files(stored, plain, "icvl", reporter)["mean_error"] == wanted
    assert evaluate_files(plain, stored, "icvl", reporter)["mean_error"] > 0


@pytest.mark.parametrize(
    ("space", "unit", "change"),
    [
        ("uvd", "m", (1, 1, 0.001)),
        ("uvd", "cm", (1, 1, 0.1)),
        ("xyz", "mm", (1, 1, 1)),
        ("xyz", "m", (0.001, 0.001, 0.001)),
        ("xyz-up", "m", (0.001, -0.001, 0.001)),
        ("xyz-up-back", "mm", (1, -1, -1)),
    ],
)
def test_each_file_in_its_own_form(hands, write, reporter, space, unit, change):
    wanted = pytest.approx(away(*hands, ICVL).mean(), abs=1e-2)
    points = [np.stack(space_of(v), -1) if space != "uvd" else v for v in hands]
    predicted, true = (write(name, v * change) for name, v in zip("pt", points, strict=True))
    plain = [write(f"plain{i}", v) for i, v in enumerate(hands)]
    both = evaluate_files(predicted, true, "icvl", reporter, space, unit)
    one = evaluate_files(predicted, plain[1], "icvl", reporter, space, unit, "uvd", "mm")
    other = evaluate_files(plain[0], true, "icvl", reporter, None, None, space, unit)
    assert [scores["mean_error"] for scores in (both, one, other)] == [wanted] * 3


def space_of(values):
    u, v, d = np.moveaxis(values, -1, 0)
    return space(u, v, d, ICVL)


def test_another_form_than_was_said_is_noted(hands, write, reporter, capsys):
    points = np.stack(space_of(hands[0]), -1)
    evaluate_files(write("p", points), write("t", hands[1]), "icvl", reporter)
    shown = " ".join(capsys.readouterr().out.split())
    assert "note: read as xyz (unit 1 mm)" in shown
    evaluate_files(write("p", hands[0] + [90, 0, 0]), write("t", hands[1]), "icvl", reporter)
    assert "note" not in capsys.readouterr().out


def test_itop_labels_as_published(shared, reporter, tmp_path):
    path = shared / "data/body_depth_labels_itop/itop_side/itop_side_keypoints3D_test.mat"
    frames = read(path, 15, Form("xyz-up", "m"))
    assert frames.values.shape == (4863, 15, 3)
    assert evaluate_files(path, path, "itop", reporter, "xyz-up", "m")["map_10cm"] == 1
    with pytest.raises(ValueError, match=r"no depth exceeds .*is this metres\? Say --unit m, or --truth-unit m"):
        evaluate_files(path, path, "itop", reporter, "xyz-up")
    with h5py.File(tmp_path / "labels.h5", "w") as file:
        file["real_world_coordinates"] = np.float32(frames.values[:3] / 1000 * [1, -1, 1])
        file["is_valid"] = np.array([1, 0, 1], np.uint8)
    np.testing.assert_allclose(
        read(tmp_path / "labels.h5", 15, Form("xyz-up", "m")).values, frames.values[[0, 2]], atol=0.1
    )


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("a.gz", gzip.compress(b"1 2 3\n" * 99, mtime=0)[:-9], r"cannot read .*a\.gz|found 3 numbers"),
        ("a.txt", b"5\n" + b"1 2 300 " * 16, r"a\.txt: line 1 says 5 frames, 1 follow"),
        ("a.npy", b"nonsense", r"cannot read .*a\.npy"),
        ("a.mat", b"nonsense", r"a\.mat"),
        ("a.npz", b"", r"a\.npz"),
        ("a.h5", b"", r"cannot read .*a\.h5"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, content, match):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=match):
        read_frames(tmp_path / name, 16)


def test_arrays_that_do_not_fit(tmp_path, hands, write, reporter):
    np.savez(tmp_path / "a.npz", left=hands[0], right=hands[1])
    with pytest.raises(ValueError, match=r"expected one array \(frames, 16, 3\); found left \(6, 16, 3\), right"):
        read_frames(tmp_path / "a.npz", 16)
    hands[0][4, 3, 1] = np.nan
    np.save(tmp_path / "a.npy", hands[0])
    with pytest.raises(ValueError, match=r"a\.npy, frame 5: a joint is no finite number"):
        read_frames(tmp_path / "a.npy", 16)
    hands[1][2, 3, 2] = -1
    np.save(tmp_path / "a.npy", hands[1])
    with pytest.raises(ValueError, match=r"a\.npy, frame 3: joint 4 .* true depths must be above 0"):
        evaluate_files(tmp_path / "a.npy", tmp_path / "a.npy", "icvl", reporter)


def test_forms_that_cannot_be(hands, write, reporter):
    paths = write("p", hands[0]), write("t", hands[1])
    with pytest.raises(ValueError, match="space='xzy' is not known; expected one of uvd, xyz, xyz-up, xyz-up-back"):
        evaluate_files(*paths, "icvl", reporter, truth_space="xzy")
    with pytest.raises(ValueError, match="unit='ft' must be mm, cm, m"):
        evaluate_files(*paths, "icvl", reporter, unit="ft")
    with pytest.raises(ValueError, match=r"all depths are above [0-9.]+ m; say --unit mm, or --truth-unit mm for"):
        evaluate_files(*paths, "icvl", reporter, unit="m")
    back = write("back", np.stack(space_of(hands[1]), -1) * [1, -1, -1])
    with pytest.raises(ValueError, match=r"true depths must be above 0.*all are negative: xyz-up-back\?"):
        evaluate_files(back, back, "icvl", reporter, "xyz")


@pytest.mark.parametrize("kind", [".gz", ".npy", ".npz", ".txt"])
def test_files_that_were_changed_at_random(tmp_path, hands, kind):
    rng = np.random.default_rng(0)
    content = np.frombuffer(as_file(tmp_path / f"a{kind}", hands[0], kind).read_bytes(), np.uint8)
    for _ in range(40):
        changed = content[: rng.integers(1, len(content) + 1)].copy()
        changed[rng.integers(len(changed), size=3)] = rng.integers(256, size=3)
        (tmp_path / f"a{kind}").write_bytes(changed.tobytes())
        try:
            frames = read_frames(tmp_path / f"a{kind}", 16)
        except ValueError:
            continue
        assert np.isfinite(frames.values).all()
