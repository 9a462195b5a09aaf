"""Moved to keyshift.datasets.rendered.hands; this name is kept for one version."""

from .rendered.hands import *  # noqa: F403
