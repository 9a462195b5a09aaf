"""Moved to keyshift.adapt.methods.regda; this name is kept for one version."""

from .methods.regda import *  # noqa: F403
