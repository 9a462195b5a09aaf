"""Moved to keyshift.models.parts.backbones; this name is kept for one version."""

from .parts.backbones import *  # noqa: F403
