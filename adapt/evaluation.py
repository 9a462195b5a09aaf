"""Moved to keyshift.adapt.scoring.evaluation; this name is kept for one version."""

from .scoring.evaluation import *  # noqa: F403
