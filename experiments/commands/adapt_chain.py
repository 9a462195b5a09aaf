"""`keyshift adapt POSE --root ROOT`: a chain that sees people in space, adapted to a target network by network.

Each network is adapted as one alone is, in a folder of its own, OUTPUT/root and OUTPUT/pose, where its own rule ships
what was adapted or the given weights again. OUTPUT/chain.json then names both, with the boxes and the camera, for
`keyshift predict`. Neither network sees the other's answers: PoseNet is adapted relative to the root, wherever that is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...datasets.options import plain_options
from ...datasets.reading.files import check_place, write_json
from ...datasets.reading.intrinsics import ASSUME
from ...datasets.sample import ROOT_MM
from ...models.pose_model import PoseModel
from ...models.saved import load_model
from ..config import build
from ..report.adapt import own_terms
from ..runs.chain import CHAIN, Chain, write_chain
from ..runs.folder import locate
from ..runs.progress import Reporter
from ..runs.shipping import points
from .adapt import adapt, is_set, name_of, usual_strategy

PARTS = ("root", "pose")
"""In the order in which they are adapted."""
BESIDE = (*PARTS, CHAIN, "mlartifacts")
"""What an adapted chain's folder holds, with the store that its parts are mirrored to (mlflow.db, its journal)."""


def adapt_chain(
    models: dict[str, Path],
    target: Path,
    source: str | None,
    strategy: str | None,
    check: Path | None,
    overrides: list[str],
    folder: Path | None,
    overwrite: bool,
    reporter: Reporter,
    **asked: Any,
) -> dict[str, Any]:
    """Adapt the networks `models`, run folders or weights files by the names of PARTS, to one target. What is `asked`
    besides and the other parameters are those of `adapt`, for both; without a `strategy` each part takes its usual one.
    Returns what each part's adapt.json holds. A `dry` run trains nothing, and `folder` is the JSON file that it writes,
    if any. Raises ValueError for bad input, before anything is written."""
    check_systems(models)
    dry, place = bool(asked.get("dry")), folder or Path("runs") / name_of(target)
    if dry:
        check_file(folder, overwrite)
    else:
        check_folder(place, overwrite)
    outcomes = {}
    for part in PARTS:
        reporter.say(f"{part}: {models[part]}")
        own = None if dry else place / part
        named = strategy or usual_strategy(target, place / part, overwrite)
        words = [*named_words(overrides, target, part), *overrides]
        outcomes[part] = adapt(models[part], target, source, named, check, words, own, overwrite, reporter, **asked)
    if dry:
        if folder is not None:
            write_json(folder, outcomes)
        return outcomes
    write_chain(place, chain_of(place, target, overrides))
    for line in summary(outcomes):
        reporter.say(line)
    reporter.say(f"chain:  {place / CHAIN}")
    return outcomes


def check_systems(models: dict[str, Path]) -> None:
    """Raises ValueError where a network is not what its place in the chain asks for, or the two do not belong
    together."""
    loaded = {part: load_model(locate(path)[0]) for part, path in models.items()}
    wanted = {"pose": "PoseNet, which answers relative to the root", "root": "RootNet, which says where the root is"}
    for part, (model, skeleton) in loaded.items():
        if not fits(part, model):
            raise ValueError(
                f"the chain's {part} network must be a {wanted[part]}; {models[part]} is a {type(model).__name__} of "
                f"{len(skeleton)} keypoints"
            )
    (pose, skeleton), (_, root) = loaded["pose"], loaded["root"]
    joint = skeleton.keypoints[pose.root] if pose.root >= 0 else "none"
    if root.keypoints != (joint,):
        raise ValueError(
            f"two skeletons without a common root: {models['pose']} counts from {joint}, and {models['root']} finds "
            f"{', '.join(root.keypoints)}"
        )


def fits(part: str, model: PoseModel) -> bool:
    """Whether a network is what the chain's `part` takes."""
    if part == "pose":
        return model.in_space() and model.space == ROOT_MM
    return model.in_space() and model.any_keypoints and model.keypoints == 1


def check_folder(folder: Path, overwrite: bool) -> None:
    """Raises ValueError where a folder holds something else than an adapted chain. What is there of one is deleted by
    its parts where it is to be overwritten; the file that says that the chain is whole goes first."""
    check_place(folder)
    names = [path.name for path in sorted(folder.glob("[!.]*"))]
    theirs = [name for name in names if name not in BESIDE and not name.startswith("mlflow.db")]
    if theirs:
        raise ValueError(
            f"{folder} holds {', '.join(theirs[:3])}, and is no chain that was adapted; choose another --output"
        )
    if overwrite:
        (folder / CHAIN).unlink(missing_ok=True)


def check_file(file: Path | None, overwrite: bool) -> None:
    """Raises ValueError where what a dry run writes is there already."""
    if file is not None and file.exists() and not overwrite:
        raise ValueError(f"{file} is there already: choose another --output, or pass --overwrite")


def named_words(overrides: Sequence[str], target: Path, part: str) -> list[str]:
    """A name of its own for the part's run, where none is said."""
    return [] if any(word.startswith("name=") for word in overrides) else [f"name={name_of(target)}-{part}"]


def chain_of(folder: Path, target: Path, overrides: Sequence[str]) -> Chain:
    """Both parts, with the boxes and the camera that the target was read with, where it is pictures."""
    pose, root = folder / "pose", folder / "root"
    if is_set(target):
        return Chain(pose, root)
    words = [word for word in overrides if word.startswith("target.")]
    config = build({"target": {"name": "pictures", "root": str(target)}}, words, "the target")
    said = {} if config.target is None else plain_options(config.target.options)
    camera, focal = said.get("camera"), said.get("focal")
    return Chain(
        pose,
        root,
        boxes=said.get("boxes"),
        camera=None if camera == ASSUME else camera,
        focal=None if focal is None else tuple(focal),
    )


def summary(outcomes: dict[str, dict[str, Any]]) -> list[str]:
    """What was shipped of each part, and what was predicted to be gained, in its own terms."""
    lines = []
    for part, outcome in outcomes.items():
        shipped = f"adapted by {outcome['strategy']}" if outcome["adapted"] else f"as given ({outcome['outcome']})"
        gain = (outcome.get("prediction") or {}).get("gain")
        said = [] if gain is None else [f"predicted gain {points(gain)}"]
        said += own_terms(outcome)[:1] if outcome.get("prediction") else []
        lines.append("; ".join([f"{part + ':':7} {shipped}", *said]))
    return lines
