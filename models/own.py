"""Moved to keyshift.models.systems.own; this name is kept for one version."""

from .systems.own import *  # noqa: F403
