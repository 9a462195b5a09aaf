"""Moved to keyshift.adapt.scoring.metrics; this name is kept for one version."""

from .scoring.metrics import *  # noqa: F403
