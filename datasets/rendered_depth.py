"""Moved to keyshift.datasets.rendered.depth; this name is kept for one version."""

from .rendered.depth import *  # noqa: F403
