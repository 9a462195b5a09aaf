"""Moved to keyshift.experiments.runs.progress; this name is kept for one version."""

from .runs.progress import *  # noqa: F403
