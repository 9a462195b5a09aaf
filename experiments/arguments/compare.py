"""keyshift compare: train strategies x seeds, write results.json and report.html."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from .words import Command, Problems, add_experiment, all_options, settings, word


def add(parser: Command) -> None:
    add_experiment(parser, nargs="+")
    parser.add_argument("--overwrite", action="store_true", help="delete the run folder first")
    parser.add_argument("--jobs", metavar="N", type=int, help="runs at once, as processes of this machine")
    parser.add_argument("--ray", metavar="ADDRESS", type=word, help="runs at once, by a Ray cluster: address, or auto")
    parser.add_argument("--cpus", metavar="N", type=int, help="threads of a run, and CPUs that it has in a Ray cluster")
    parser.add_argument(
        "--gpus", metavar="SHARE", type=float, help="of a GPU, that a run has: 0.5, so that two share it"
    )
    parser.last = all_options


def run(arguments: Namespace) -> None:
    a = arguments
    given = [*a.experiment, *a.overrides]
    names = [one for one in given if "=" not in one or Path(one).exists()] or given[:1]
    overrides = [one for one in given if one not in names]
    experiments = []
    for name in names:
        config, folder = settings(Namespace(experiment=name, overrides=overrides))
        if len(names) > 1 and folder != Path(name):
            folder = (folder or Path("runs")) / config.name
        folder = folder or Path("runs") / config.name
        if (folder / "checkpoint.pt").exists():
            raise ValueError(f"{folder} is a single run; continue it with: keyshift train {folder}")
        experiments.append((config, folder))
    from ..runs.comparison import compare
    from ..runs.many import crew_of
    from ..runs.progress import Reporter

    reporter = Reporter()
    if not compare(experiments, reporter, a.overwrite, crew_of(a.jobs, a.ray, a.cpus, a.gpus, reporter), a.cpus):
        raise Problems
