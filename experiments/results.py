"""Moved to keyshift.experiments.runs.results; this name is kept for one version."""

from .runs.results import *  # noqa: F403
