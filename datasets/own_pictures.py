"""Moved to keyshift.datasets.own.pictures; this name is kept for one version."""

from .own.pictures import *  # noqa: F403
