"""JSON in pieces is what the standard library reads whole, wherever the pieces end."""

import json

import pytest

from keyshift.datasets.reading import json_stream
from keyshift.datasets.reading.annotations import BadAnnotation, read_json
from keyshift.datasets.reading.json_stream import lists, read_without, walk

CONTENT = {
    "info": {"año": '2019 \u2028 \U0001f600 \\ "q"', "none": None, "empty": {}},
    "images": [{"id": 1, "name": "a.jpg"}, {"id": 2.5e-7, "size": [12, -3.25e10]}, 17, -1.5, 1e300, True, "x]}"],
    "annotations": [],
    "deep": {"1": {"2": {"3": [[1, 2], [3, 4]]}}, "huge": 10**40},
    "last": 12345.678e-2,
}


def rebuilt(path, depth, ahead):
    top = None
    for keys, value in walk(path, depth, ahead):
        if not keys:
            top = value
            continue
        holder = top
        for key in keys[:-1]:
            holder = holder[key]
        if isinstance(holder, list):
            assert keys[-1] == len(holder)
            holder.append(value)
        else:
            holder[keys[-1]] = value
    return top


@pytest.mark.parametrize("depth", range(5))
def test_any_piece_gives_the_same(tmp_path, depth):
    path = tmp_path / "a.json"
    for indent in (None, 1):
        path.write_text(json.dumps(CONTENT, indent=indent, ensure_ascii=False))
        for ahead in (*range(4, 30), 1 << 20):
            made = rebuilt(path, depth, ahead)
            assert made == CONTENT
            assert repr(made) == repr(read_json(path))


@pytest.mark.parametrize("content", ["17", "1e+5", "[]", "{}", "[1.25]", '"a"', "[NaN, -Infinity]"])
@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16"])
def test_other_contents_and_encodings(tmp_path, content, coding):
    path = tmp_path / "a.json"
    path.write_text(content, coding)
    assert repr(rebuilt(path, 2, 1 << 20)) == repr(read_json(path))


def test_broken_files_are_refused_wherever_pieces_end(tmp_path):
    path, text = tmp_path / "a.json", json.dumps(CONTENT)
    broken = [text[:cut] for cut in range(0, len(text), 7)]
    broken += [text + "]", text.replace(":", "", 1), text.replace(",", " ", 1), text.replace("}", "", 1), text[1:]]
    for one in broken:
        path.write_text(one)
        for depth in (0, 2):
            with pytest.raises(BadAnnotation, match=r"a\.json: the content is .*expected whole UTF-8 JSON"):
                list(walk(path, depth, 16))
    path.write_bytes(b'["\xff"]')
    with pytest.raises(BadAnnotation, match="UnicodeDecodeError"):
        list(walk(path, 1))


def test_a_mistake_is_not_looked_for_in_all_that_follows(tmp_path, monkeypatch):
    monkeypatch.setattr(json_stream, "LONGEST", 100)
    path = tmp_path / "a.json"
    path.write_text('[{"a" 1}, ' + "1, " * 100_000 + "1]")
    read = []
    more = json_stream._Text.more
    monkeypatch.setattr(json_stream._Text, "more", lambda text: read.append(len(text.text)) or more(text))
    with pytest.raises(BadAnnotation, match="Expecting ':'"):
        list(walk(path, 1, 16))
    assert max(read) < 1000


def test_lists_and_fields_that_are_not_read(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(CONTENT))
    made = list(lists(path, ("images", "annotations"), 3))
    assert [(name, len(held)) for name, held in made] == [
        ("images", 3),
        ("images", 3),
        ("images", 1),
        ("annotations", 0),
    ]
    assert [one for name, held in made if name == "images" for one in held] == CONTENT["images"]
    with pytest.raises(BadAnnotation, match="people is missing"):
        list(lists(path, ("images", "people"), 3))
    with pytest.raises(BadAnnotation, match=r"deep is .*expected a list"):
        list(lists(path, ("images", "deep"), 3))
    wanted = {key: value for key, value in CONTENT.items() if key != "deep"}
    wanted["images"] = [{"id": 1}, {"id": 2.5e-7, "size": [12, -3.25e10]}, *CONTENT["images"][2:]]
    assert read_without(path, {"name", "deep"}) == wanted
    path.write_text(json.dumps([{"a": 1, "b": {"c": 2}}, {"b": 3}]))
    assert read_without(path, {"a"}) == [{"b": {"c": 2}}, {"b": 3}]
