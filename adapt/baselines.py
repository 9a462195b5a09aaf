"""Moved to keyshift.adapt.methods.baselines; this name is kept for one version."""

from .methods.baselines import *  # noqa: F403
