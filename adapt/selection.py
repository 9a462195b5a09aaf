"""Moved to keyshift.adapt.scoring.selection; this name is kept for one version."""

from .scoring.selection import *  # noqa: F403
