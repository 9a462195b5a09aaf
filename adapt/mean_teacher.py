"""Moved to keyshift.adapt.methods.mean_teacher; this name is kept for one version."""

from .methods.mean_teacher import *  # noqa: F403
