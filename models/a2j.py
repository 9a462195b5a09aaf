"""Moved to keyshift.models.systems.a2j; this name is kept for one version."""

from .systems.a2j import *  # noqa: F403
