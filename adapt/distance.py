"""Moved to keyshift.adapt.scoring.distance; this name is kept for one version."""

from .scoring.distance import *  # noqa: F403
