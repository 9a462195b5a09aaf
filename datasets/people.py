"""Moved to keyshift.datasets.reading.people; this name is kept for one version."""

from .reading.people import *  # noqa: F403
