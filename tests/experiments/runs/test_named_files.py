"""Files that options name: a run says what they held, and another content is another run."""

import hashlib
import json

import pytest
import torch

from keyshift.adapt.methods.post import Post
from keyshift.adapt.strategies import STRATEGIES
from keyshift.adapt.strategy import files
from keyshift.experiments.config import build, of_run
from keyshift.experiments.runs.folder import open_folder
from keyshift.experiments.runs.job import Job
from keyshift.experiments.runs.task import check_required, files_of

NAMED = {"uniframe": "style", "distil": "labels", "post": "prior", "ssa": "statistics"}


@pytest.mark.parametrize("name", NAMED)
def test_another_content_is_another_run(tmp_path, name):
    file, folder, cpu = tmp_path / "file", tmp_path / "run", torch.device("cpu")
    config = build({}, [f"strategy={name}", f"{name}.{NAMED[name]}={file}"])
    said = of_run(config, name, 0)

    def begin(content):
        file.write_bytes(content)
        open_folder(folder, said, files_of(config, [name]), cpu)

    begin(b"one")
    identity = json.loads((folder / "identity.json").read_text())
    assert identity == {"files": {f"{name}.{NAMED[name]}": hashlib.sha256(b"one").hexdigest()}}
    begin(b"one")
    with pytest.raises(ValueError, match=rf"holds another run: the content of {name}.{NAMED[name]} was '7692.*now "):
        begin(b"two")
    (folder / "identity.json").write_text("{}")  # as a run of an earlier version says it
    begin(b"two")


def test_a_job_elsewhere_knows_the_files_of_the_whole_comparison(tmp_path):
    """Which are required where it opens what all of them work on."""
    config = build({}, ["strategies=[dan,distil]", "distil.labels=labels.json"])
    there = build(Job.of(config, "dan", 1, tmp_path).config)
    assert there.method("distil").labels == "labels.json"
    assert (there.strategy, there.seed, there.strategies) == ("dan", 1, ["dan", "distil"])
    with pytest.raises(ValueError, match=r"distil needs labels by another model .*: say distil.labels=FILE"):
        check_required(build({}, ["strategies=[dan,distil]"]), ["dan", "distil"])
    assert "distil" not in build({}, ["strategies=source_free"]).strategies


def test_what_names_no_file_says_none(tmp_path):
    config = build({}, [f"post.prior={tmp_path}/none.pt"])
    assert files_of(config, list(STRATEGIES)) == {}
    assert list(files("post", Post.Options())) == []
    assert files("post", Post.Options(prior="~/a.pt"))["post.prior"].is_absolute()
