"""The page of `keyshift adapt`, made from its folder and two models."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from keyshift.adapt.scoring.distance import Distance
from keyshift.experiments.report import adapt as words

CHECK = {
    "metric": "pck@0.1",
    "pictures": 40,
    "before": {"pck": 0.5, "groups": {"all": 0.5, "none": None}},
    "after": {"pck": 0.7, "groups": {"all": 0.7, "none": float("nan")}},
    "gain": {"mean": 0.2, "interval": [0.1, 0.3]},
}


@pytest.fixture
def job(tmp_path: Path, dots: Any, brightest: Any) -> Any:
    """write(source, check, pictures, **outcome): the text of the page."""
    dataset = dots(20, "plain")
    task = SimpleNamespace(target=(dataset, dataset), size=(32, 32), config=SimpleNamespace(crop="exact"))
    models = [brightest(3, brightest.Options(input_size=[32, 32])) for _ in range(2)]

    def write(source: bool = True, check: Any = None, pictures: str = "all", **more: Any) -> str:
        sides = (["source_train"] if source else []) + ["target_train", "target_test"]
        identity = {side: {"name": side, "licence": f"licence of {side}"} for side in sides}
        config = {"name": "adapt-wild", "target": {"name": "pictures", "root": "/data/wild"}}
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config | {"report": {"pictures": pictures}}))
        (tmp_path / "identity.json").write_text(json.dumps(identity))
        distance = {"classifier": 0.9 if source else None, "entropy": 0.5, "consistency": 0.6}
        outcome = {"strategy": "alone", "updates": 3, "adapted": True, "why": "it rose", "given": "runs/given"}
        outcome |= {"before": distance, "after": distance | {"consistency": 0.8}, "check": check}
        outcome |= {"ended": "all 3 updates were made", "pictures": 80, "held_out": 20, **more}
        words.write(tmp_path, outcome, *models, task)
        return (tmp_path / "report.html").read_text("utf-8")

    return write


def test_the_page_shows_both_answers_to_twelve_pictures(job: Any) -> None:
    page = job(check=CHECK)
    assert page.count("data:image/jpeg") == 24
    assert "<h1>Adapted to wild</h1>" in page
    assert "/data/wild; from runs/given, by alone" in page
    assert "update 3 is shipped, because it rose; all 3 updates were made" in page
    assert "80 pictures to adapt to, 20 held out to judge by" in page
    assert "vote entropy, held-out pictures" in page
    assert "Held-out pictures, before and after" in page
    assert "domain classifier, all target pictures" in page
    assert "on 40 labelled pictures: PCK@0.1 0.500 before, 0.700 after, gain +0.200 [+0.100, +0.300]" in page
    assert re.search(r"none</th><td>–</td><td>–</td>", page)
    assert "licence of source_train" in page
    assert "domain classifier" in page
    assert "root: /data/wild" in page


def test_without_a_source_nothing_is_said_of_one(job: Any) -> None:
    page = job(source=False)
    assert "domain classifier" not in page
    assert "source" not in page.split("<main>")[1]
    assert "vote entropy" in page


def test_pictures_are_left_out_where_that_is_asked_for(job: Any) -> None:
    assert "data:image/jpeg" not in job(pictures="none")
    assert job(pictures="blurred").count("data:image/jpeg") == 24


def test_a_distance_without_a_classifier_is_told() -> None:
    assert words.distance(Distance(0.75, 0.5, 0.6)).startswith("domain classifier 0.75 (0.5: not to be told apart)")
    assert "no source or too few pictures" in words.distance(Distance(None, 0.5, 0.6))


def test_where_nothing_was_adapted_the_page_shows_the_given_model_alone(job: Any) -> None:
    page = job(adapted=False, updates=0, why="it fell")
    assert "<h1>Not adapted to wild</h1>" in page
    assert "the given model is shipped unchanged, because it fell; all 3 updates were made" in page
    assert page.count("data:image/jpeg") == 12
    assert "before and after" not in page
    assert "0.800" not in page


def test_where_nothing_is_held_out_nothing_is_called_so(job: Any) -> None:
    page = job(adapted=False, updates=0, why="why", pictures="all")
    assert "held-out pictures" in page
    page = job(adapted=False, updates=0, why="why", held_out=0).split("<main>")[1]
    assert "none held out to judge by" in page
    assert "held-out" not in page.lower()
    assert "vote entropy, target pictures" in page


def test_what_a_folder_of_0_1_says_is_told_as_it_stands() -> None:
    old = {"strategy": "regda", "updates": 0, "adapted": False, "why": "all 300 updates were made"}
    assert words.verdict(old) == "not adapted: the given model is shipped unchanged (all 300 updates were made)"


@pytest.mark.parametrize(
    ("count", "held", "said"),
    [
        (1, 0, "1 picture to adapt to, none held out to judge by"),
        (1, 1, "1 picture to adapt to, 1 held out to judge by"),
        (6, 2, "6 pictures to adapt to, 2 held out to judge by"),
    ],
)
def test_parts(count: int, held: int, said: str) -> None:
    assert words.parts(count, held) == said


def test_people_are_judged_by_ap_and_their_joints_by_pck(job: Any) -> None:
    before = {"ap": 0.25, "ap50": 0.5, "ar": 0.3, "missed": 12, "groups": {"all": 0.5}}
    after = {"ap": 0.375, "ap50": 0.6, "ar": 0.4, "missed": 9, "invented": 2, "groups": {"all": 0.7}}
    page = job(check=CHECK | {"metric": "ap", "before": before, "after": after})
    assert '<th scope="row">OKS-AP</th><td>0.250</td><td>0.375</td>' in page
    assert "people missed</th><td>12</td><td>9</td>" in page
    assert "people invented</th><td>0</td><td>2</td>" in page
    assert "PCK, all</th><td>0.500</td><td>0.700</td>" in page
