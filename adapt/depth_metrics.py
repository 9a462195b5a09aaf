"""Moved to keyshift.adapt.scoring.depth_metrics; this name is kept for one version."""

from .scoring.depth_metrics import *  # noqa: F403
