"""Moved to keyshift.models.systems.awr; this name is kept for one version."""

from .systems.awr import *  # noqa: F403
