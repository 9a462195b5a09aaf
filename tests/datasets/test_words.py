"""Texts are what was written, on the command line and in a YAML; other types are read as YAML."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from keyshift.datasets.catalog import open_dataset
from keyshift.datasets.options import Options, make, option
from keyshift.datasets.own.pictures import Options as PicturesOptions
from keyshift.datasets.own.pictures import own_pictures
from keyshift.datasets.reading.files import from_home
from keyshift.datasets.reading.origin import MissingData
from keyshift.datasets.skeleton import HAND
from keyshift.datasets.words import Loader, Texts, command_words
from keyshift.experiments.config import build, load, of_comparison, of_run, read
from keyshift.experiments.config import plain as plain_config

FOLDERS = [
    *("001", "007", "1e5", "0x10", "1_000", "2024_01_15", "2024-01-15", "12:30:45", "on", "No", "true", ".inf"),
    *("cam #2", "a: b", "[a] b", "[cam1] day", "{x}", "[1, 2]", "${x}", "${", "a, b", "a=b", "~", "~x", "a%20b", "a?b"),
    *(
        "'quoted'",
        '"quoted"',
        "trailing ",
        " leading",
        "- x",
        "* x",
        "&x",
        "!x",
        "@x",
        "`x`",
        "%x",
        "|",
        "x: [",
        "Größe",
    ),
]


@dataclasses.dataclass(frozen=True)
class Several(Options):
    root: str | None = option(None, "a folder")
    title: str = option("none", "a text")
    count: int = option(1, "a number", low=0)
    rate: float = option(1.0, "a number")
    sure: bool = option(False, "or not")
    size: list[int] = option([1, 1], "width, height", size=2)
    names: list[str] = option([], "texts")
    chosen: list[str] | None = dataclasses.field(default=None, metadata=option([], "texts").metadata)
    renamed: dict[str, str] = option({}, "texts")
    factors: dict[str, float] = option({"one": 1.0}, "numbers")
    more: dict[str, Any] = option({}, "anything")
    labels: Texts = option(None, "one or two")


def of_words(*words: str) -> Several:
    return make(Several, command_words(words), "the command line")


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_text_is_taken_as_it_stands(folder):
    said = of_words(f"root={folder}", f"title={folder}")
    assert (said.root, said.title) == (folder, folder)
    assert type(said.root) is str
    config = build({}, [f"target.root={folder}", "target.name=pictures", f"name={folder}"])
    assert (config.target.options.root, config.name) == (folder, folder)
    again = build(yaml.load(yaml.safe_dump(of_run(config, "regda", 0)), Loader))
    assert again.target.options.root == folder, "and it is the same after a run wrote it down"


@pytest.mark.parametrize("folder", ["001", "2024_01_15", "1e5", "on", "12:30:45", "2024-01-15", "${x}", "a%20b", "~x"])
def test_a_text_in_a_yaml_needs_no_quotes(folder, tmp_path):
    path = tmp_path / "experiment.yaml"
    path.write_text(f"target:\n  name: pictures\n  root: {folder}\n  boxes: {folder}  # a comment\nname: '{folder}'\n")
    config = load(str(path))
    assert (config.target.options.root, config.target.options.boxes, config.name) == (folder,) * 3


def test_nothing_is_said_by_null_or_by_no_word():
    for word in ("root=", "root=null", "root=NULL", "labels=null", "labels="):
        said = of_words("root=first", "labels=first", word)
        assert None in (said.root, said.labels), word
    assert of_words("title=null").title == "null", "an option that is always a text takes this one too"
    assert make(Several, yaml.load("{root: null, title: x}", Loader)).root is None
    assert make(Several, yaml.load("root: ~", Loader)).root is None


@pytest.mark.parametrize(
    ("word", "name", "value"),
    [
        ("count=3", "count", 3),
        ("rate=1e-3", "rate", 0.001),
        ("rate=3", "rate", 3.0),
        ("sure=yes", "sure", True),
        ("size=[64, 32]", "size", [64, 32]),
        ("names=[001, on, a b, 1e5]", "names", ["001", "on", "a b", "1e5"]),
        ("chosen=[001, 2]", "chosen", ["001", "2"]),
        ("renamed={1: 001, on: no}", "renamed", {"1": "001", "on": "no"}),
        ("factors={two: 2e-1}", "factors", {"one": 1.0, "two": 0.2}),
        ("factors.two=2", "factors", {"one": 1.0, "two": 2.0}),
        ("more={a: 0.50, b: 1e-3, c: [1, x], d: true, e: null, f: x y}", "more", None),
        ("labels=001", "labels", "001"),
        ("labels=2024_01_15.json", "labels", "2024_01_15.json"),
        ("labels=[001, b c.json]", "labels", ["001", "b c.json"]),
        ("labels=[cam1] day.json", "labels", "[cam1] day.json"),
        ("labels=a: b", "labels", "a: b"),
    ],
)
def test_other_types_are_read_as_yaml(word, name, value):
    expected = value or {"a": 0.5, "b": 0.001, "c": [1, "x"], "d": True, "e": None, "f": "x y"}
    assert getattr(of_words(word), name) == expected


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("count=many", "count.*many"),
        ("count=[", "count: '.' is no YAML"),
        ("count=-1", "count=-1 must be at least 0"),
        ("size=[1, 2, 3]", "must have 2 entries"),
        ("size=" + "[" * 2000, "size.*is no YAML"),
        ("cuont=1", "unknown key cuont. Did you mean count"),
        ("count", "is not of the form key=value"),
        ("=1", "is not of the form key=value"),
        ("a..b=1", "is not of the form key=value"),
    ],
)
def test_what_is_no_value_of_its_option_is_named(word, message):
    with pytest.raises(ValueError, match=message) as error:
        of_words(word)
    assert "\n" not in str(error.value)


def test_words_over_a_file_change_what_they_name_alone(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("model: {name: own, file: 01.py, object: Net, arguments: {keypoints: 21, wide: 0.50}}\n")
    said = load(str(path), ["model.arguments.keypoints=3"]).model.options
    assert (said.file, said.arguments) == ("01.py", {"keypoints": 3, "wide": 0.5})
    said = load(str(path), ["model.arguments={keypoints: 5}", "pretrain={rate: 1}", "model={object: On}"])
    assert (said.model.options.arguments, said.model.options.object) == ({"keypoints": 5, "wide": 0.5}, "On")
    assert (said.pretrain.rate, said.pretrain.factors) == (1.0, {"backbone": 0.1})


def test_a_configuration_is_plain_data_for_every_reader_of_yaml(tmp_path):
    path = tmp_path / "config.yaml"
    config = build({}, ["target.root=001", "target.name=pictures", "strategies=[regda]", "tracking=off"])
    path.write_text(yaml.safe_dump(of_comparison(config), sort_keys=False))
    assert yaml.safe_load(path.read_text())["target"]["root"] == "001"
    assert plain_config(build(read(path))) == plain_config(config)


def test_a_yaml_is_read_as_utf_8_whatever_the_language_of_the_machine(tmp_path, monkeypatch):
    path = tmp_path / "experiment.yaml"
    path.write_bytes("target: {name: pictures, root: Größe}\n".encode())
    monkeypatch.setitem(os.environ, "LC_ALL", "C")
    assert load(str(path)).target.options.root == "Größe"
    path.write_bytes(b"name: \xff\n")
    with pytest.raises(ValueError, match=r"experiment.yaml is not valid YAML"):
        load(str(path))


def test_a_folder_whose_name_begins_with_a_tilde_is_no_users_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert from_home("~/data") == tmp_path / "home" / "data"
    assert from_home("~nobody-of-that-name") == Path("~nobody-of-that-name")
    folder = tmp_path / "~recordings"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (16, 16)).save(folder / "1.png")
    Image.new("RGB", (16, 16), "red").save(folder / "2.png")
    assert len(own_pictures(make(PicturesOptions, command_words(["root=~recordings"])), "train", HAND)) > 0


def test_a_command_that_is_proposed_can_be_pasted_into_a_shell():
    with pytest.raises(MissingData, match=r"prepare pictures 'root=\[cam1\] day'$"):
        open_dataset("pictures", make(PicturesOptions, command_words(["root=[cam1] day"])), "train")


@pytest.mark.parametrize(
    "words",
    [
        ["source=deeplabcut", "source.root=lips"],
        ["source.root=lips", "source=deeplabcut"],
        ["source=deeplabcut", "source.rename={a: b}"],
        ["source.rename.a=b", "source=deeplabcut"],
    ],
)
def test_a_name_beside_keys_below_it_is_not_passed_over(words):
    with pytest.raises(ValueError, match=r"source=deeplabcut stands beside .* did you mean source.name=deeplabcut"):
        command_words(words)


@pytest.mark.parametrize(
    ("words", "content"),
    [
        (["a=null", "a.b=1"], {"a": {"b": "1"}}),
        (["a.b=1", "a=null"], {"a": "null"}),
        (["a={b: 1}", "a.c=2"], {"a": {"b": "1", "c": "2"}}),
        (["a.c=2", "a={b: 1}"], {"a": {"b": "1", "c": "2"}}),
        (["a=1", "a=2"], {"a": "2"}),
    ],
)
def test_later_words_add_to_mappings_and_replace_others(words, content):
    assert command_words(words) == content
