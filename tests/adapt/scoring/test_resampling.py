"""AP of test sets that are drawn again and again, against a loop that repeats their pictures, and what follows."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from keyshift.adapt.scoring.finding import joined
from keyshift.adapt.scoring.oks_ap import FlatPeople, judged, oks_ap
from keyshift.adapt.scoring.people_ap import everyone, labelled
from keyshift.adapt.scoring.precision import weighted_precision
from keyshift.adapt.scoring.predictions import Answers, Predictions
from keyshift.adapt.scoring.resampling import Precisions, Ratios, runs_of
from keyshift.adapt.scoring.selection import AP, PCK, Headline, Selection
from keyshift.datasets.skeleton import Skeleton
from keyshift.experiments.report.adapt import check_words
from keyshift.experiments.runs import check
from keyshift.experiments.runs.results import runs_in, summarized
from keyshift.models.output import Poses

SIGMAS = (0.08, 0.1, 0.06, 0.09)
BLOCKS = 6


def drawn_people(seed, images=24, ties=False):
    """Pictures of nobody to four people, one in eight a crowd; predictions near, twice, missed and invented."""
    rng = np.random.default_rng(seed)
    truth, seen = [], []
    for image in range(images):
        for _ in range(rng.integers(5)):
            person = rng.uniform(0, 300, 2) + rng.uniform(0, 80, (4, 2))
            truth.append((person, rng.random(4) > 0.2, rng.random() < 0.125, image))
            seen += [(person + rng.normal(0, rng.choice([2, 8]), (4, 2)), image) for _ in range(rng.integers(3))]
        seen += [(rng.uniform(0, 400, (4, 2)), image) for _ in range(rng.integers(2))]
    points, annotated, crowd, image = (torch.tensor(np.array(part)) for part in zip(*truth, strict=True))
    boxes = torch.cat([points.amin(1), points.amax(1)], 1)
    people = FlatPeople(points, annotated, torch.full((len(points),), 6400.0), boxes, crowd, image)
    places, where = (torch.tensor(np.array(part)) for part in zip(*seen, strict=True))
    score = torch.tensor(rng.integers(0, 9, len(seen)) / 9 if ties else rng.random(len(seen)))
    return Poses(places, torch.ones(places.shape[:2]), where, score), people


def repeated(people, truth, times):
    """The pictures of a test set, each so many times, one after the other."""
    images = np.repeat(np.arange(len(times)), times)
    parts = [
        [replace(own.of(torch.tensor([image])), image_index=own.image_index[own.image_index == image] * 0 + number)]
        for own in (truth,)
        for number, image in enumerate(images)
    ]
    rows = [torch.nonzero(people.image_index == image)[:, 0] for image in images]
    index = torch.cat([torch.full_like(row, number) for number, row in enumerate(rows)])
    row = torch.cat(rows)
    poses = Poses(people.points[row], people.confidence[row], index, people.score[row])
    flat = FlatPeople(*(torch.cat([getattr(one, name) for (one,) in parts]) for name in vars(truth)))
    return poses, flat


@pytest.mark.parametrize("seed", range(6))
def test_weights_are_pictures_repeated(seed):
    people, truth = drawn_people(seed)
    block = np.arange(24) // 4
    (state,) = judged(people, truth, SIGMAS)
    weights = np.random.default_rng(seed).multinomial(BLOCKS, [1 / BLOCKS] * BLOCKS, 8)
    made = weighted_precision(state, block[state.image], block[state.people], weights.astype(float))
    assert (weights == 0).any()
    assert (weights > 1).any()
    for times, own in zip(weights, made.T, strict=True):
        np.testing.assert_allclose(own, oks_ap(*repeated(people, truth, times[block]), SIGMAS), atol=1e-12)
    assert len(np.unique(made.mean(0).round(6))) > 5


def test_of_blocks_without_people_there_is_no_precision():
    people, truth = drawn_people(0)
    (state,) = judged(people, truth, SIGMAS)
    weights = np.eye(2)  # all people stand in the first block
    made = weighted_precision(state, state.image * 0 + 1, state.people * 0, weights)
    assert (made[:, 0] == 0).all()  # where nobody is found
    assert np.isnan(made[:, 1]).all()  # and nobody is


def predictions(people, truth, images=24):
    """As a run keeps them; the sequences of pictures are blocks of four."""
    count = len(truth)
    names = tuple(f"block{image // 4}" for image in range(images))
    answers = Answers(
        people.points,
        people.score,
        people.image_index,
        torch.zeros(len(people), dtype=torch.bool),
        torch.arange(images),
        names,
        torch.tensor(SIGMAS, dtype=torch.float64),
        own_area=True,
    )
    return Predictions(
        points=torch.zeros(count, 4, 2),
        confidence=torch.zeros(count, 4),
        truth=truth.points,
        annotated=truth.annotated & ~truth.crowd[:, None],
        visible=truth.annotated,
        side=torch.full((count,), 400.0),
        camera=torch.zeros(count, 4),
        sequence=tuple(names[image] for image in truth.image_index.tolist()),
        id=tuple(str(image) for image in truth.image_index.tolist()),
        row=truth.image_index,
        matched=torch.zeros(count, dtype=torch.bool),
        area=truth.area,
        bounds=truth.boxes - 0.5,
        crowd=truth.crowd,
        answers=answers,
    )


def worse(people, share, seed):
    """The same predictions without a share of them."""
    keep = torch.rand(len(people), generator=torch.Generator().manual_seed(seed)) > share
    return people.each(lambda part: part[keep])


def compared(seed=0, shares=(0.4, 0.0)):
    """Two strategies of two seeds: the first finds fewer people."""
    runs = {}
    for name, share in zip(("source_only", "regda"), shares, strict=True):
        own = []
        for number in range(2):
            people, truth = drawn_people(seed)
            own.append(predictions(worse(people, share + 0.05 * number, number), truth))
        runs[name] = own
    return runs


def test_a_comparison_of_ap_against_a_loop():
    """Means of seeds, the gain, and its interval from draws of which each makes AP anew of pictures repeated."""
    runs = compared()
    judged_runs = {name: runs_of(own, AP) for name, own in runs.items()}
    assert all(isinstance(own, Precisions) for own in judged_runs.values())
    summary = summarized(judged_runs, AP, 40)
    exact = {
        name: [oks_ap(everyone(one.answers), labelled(one), SIGMAS).mean().item() for one in own]
        for name, own in runs.items()
    }
    for name, values in exact.items():
        assert summary[name]["target"]["mean"] == pytest.approx(np.mean(values), abs=1e-12)
        assert summary[name]["target"]["std"] == pytest.approx(np.std(values, ddof=1), abs=1e-12)
    gain = summary["regda"]["gain"]
    assert gain["mean"] == pytest.approx(np.mean(exact["regda"]) - np.mean(exact["source_only"]))

    rng = np.random.default_rng(0)
    seeds, blocks = rng.multinomial(2, [0.5] * 2, 40), rng.multinomial(BLOCKS, [1 / BLOCKS] * BLOCKS, 40)
    drawn = []
    for own_seeds, own_blocks in zip(seeds, blocks, strict=True):
        means = []
        for own in (runs["regda"], runs["source_only"]):
            times = own_blocks[np.arange(24) // 4]
            each = [oks_ap(*repeated(everyone(one.answers), labelled(one), times), SIGMAS).mean().item() for one in own]
            means.append((own_seeds * each).sum() / 2)
        drawn.append(means[0] - means[1])
    assert gain["interval"] == pytest.approx(list(np.quantile(drawn, [0.025, 0.975])), abs=1e-12)
    assert gain["interval"][0] < gain["mean"] < gain["interval"][1]


def test_the_interval_of_a_difference_of_two_runs():
    """The jackknife's error is about that of the bootstrap, and the difference is exact."""
    runs = compared(seed=3)
    before, after = (runs_of(own[:1], AP) for own in runs.values())
    difference, error = after.over(before)
    assert difference == pytest.approx(after.means()[0] - before.means()[0])
    weights = np.random.default_rng(1).multinomial(BLOCKS, [1 / BLOCKS] * BLOCKS, 500)
    ones = np.ones((500, 1))
    spread = np.std(after.drawn(ones, weights) - before.drawn(ones, weights))
    assert 0.6 < error / spread < 1.8
    alone = replace(after, blocks=1, runs=tuple((one, at * 0, people * 0) for one, at, people in after.runs))
    assert np.isnan(alone.over(alone)[1])


def test_equal_runs_gain_nothing():
    run = compared()["regda"]
    summary = summarized({"source_only": runs_of(run, AP), "regda": runs_of(run, AP)}, AP, 50)
    assert summary["regda"]["gain"] == {"mean": 0.0, "interval": [0.0, 0.0]}


def test_nothing_is_said_without_labels():
    people, truth = drawn_people(0)
    nobody = predictions(people, truth.of(torch.tensor([], dtype=torch.int64)))
    row = summarized({"source_only": runs_of([nobody], AP)}, AP)["source_only"]
    assert row["target"] == {"mean": None, "std": None}


def test_of_crops_the_ratio_stays():
    people, truth = drawn_people(0)
    crops = replace(predictions(people, truth), answers=None)
    assert crops.headline(0.1) == replace(PCK, threshold=0.1)
    assert isinstance(runs_of([crops], crops.headline(0.1)), Ratios)
    assert predictions(people, truth).headline(0.1) == replace(AP, threshold=0.1)


def test_the_headline_of_several_people():
    headline = Headline.of(2, 0.1, several=True)
    assert (headline.key, headline.name, headline.title, headline.heading) == ("ap", "ap", "OKS-AP", "OKS-AP")
    assert headline.show(0.4567) == "45.7 %"
    assert headline.by_joint == replace(PCK, threshold=0.1)
    assert Headline.named("ap") == AP
    assert Headline.of(3, 0.1, several=True).key == "mm"
    assert Headline.among({"ap", "pck"}, threshold=0.1) == headline
    assert Headline.among({"target/pck"}, "target/").key == "pck"
    chosen = Selection()
    for step, value in enumerate((0.2, 0.5, 0.4)):
        chosen.update(step, {"source/ap": value, "target/ap": 1 - value, "source/pck": 1.0, "target/pck": 1.0})
    assert chosen.steps == {"last": 2, "source": 1, "oracle": 0}
    with pytest.raises(ValueError, match="no mean over keypoints"):
        AP.values(None)


def test_some_sequences_are_scored_alone():
    people, truth = drawn_people(1)
    whole = predictions(people, truth)
    invented = torch.rand(len(people), generator=torch.Generator().manual_seed(0)) > 0.5
    whole = replace(whole, answers=replace(whole.answers, invented=invented), invented=int(invented.sum()))
    part = whole.of_sequences({"block1", "block4"})
    images = torch.tensor([4, 5, 6, 7, 16, 17, 18, 19])
    inside = torch.isin(people.image_index, images)
    wanted = oks_ap(people.each(lambda value: value[inside]), labelled(whole).of(images), SIGMAS)
    assert torch.equal(oks_ap(everyone(part.answers), labelled(part), SIGMAS), wanted)
    assert part.invented == int(invented[inside].sum()) > 0
    assert part.answers.picture.tolist() == images.tolist()


def test_batches_are_joined():
    people, truth = drawn_people(1)
    answers = predictions(people, truth).answers
    halves = [answers.within(torch.arange(0, 10)), answers.within(torch.arange(10, 24))]
    again = joined(halves)
    order = torch.cat([torch.nonzero(people.image_index < 10), torch.nonzero(people.image_index >= 10)])[:, 0]
    assert torch.equal(again.points, answers.points[order])
    assert again.sequence == answers.sequence
    assert not joined([halves[0], replace(halves[1], own_area=False)]).own_area
    assert joined([]) is None


def test_two_models_are_compared_by_ap_on_labelled_pictures():
    """What `keyshift adapt --check` says of systems that find people: Student's interval over blocks of pictures."""
    runs = compared(seed=3)
    given, adapted = (own[0] for own in runs.values())
    skeleton = Skeleton("own", ("a", "b", "c", "d"))
    made = check.compared(given, adapted, skeleton, 0.1)
    exact = [oks_ap(everyone(own.answers), labelled(own), SIGMAS).mean().item() for own in (given, adapted)]
    assert (made["metric"], made["blocks"]) == ("ap", BLOCKS)
    assert [made[when]["ap"] for when in ("before", "after")] == pytest.approx(exact)
    assert made["gain"]["mean"] == pytest.approx(exact[1] - exact[0])
    low, high = made["gain"]["interval"]
    assert low < made["gain"]["mean"] < high
    assert "OKS-AP" in check_words(made | {"pictures": 24})
    assert check.compared(given, given, skeleton, 0.1)["gain"] == {"mean": 0.0, "interval": [0.0, 0.0]}


def test_runs_of_two_versions_are_not_mixed(tmp_path):
    people, truth = drawn_people(0)
    new = predictions(people, truth)
    for name, one in (("source_only", new), ("regda", replace(new, answers=None))):
        (tmp_path / f"{name}-seed0").mkdir()
        one.save(tmp_path / f"{name}-seed0" / "predictions.npz")
    runs, headline = runs_in(tmp_path, ["source_only"], [0], 0.1)
    assert (list(runs), headline.name) == (["source_only"], "ap")
    with pytest.raises(ValueError, match="earlier keyshift"):
        runs_in(tmp_path, ["source_only", "regda"], [0], 0.1)
