"""Moved to keyshift.datasets.own.depth_folder; this name is kept for one version."""

from .own.depth_folder import *  # noqa: F403
