"""Moved to keyshift.adapt.methods.pseudo_labels; this name is kept for one version."""

from .methods.pseudo_labels import *  # noqa: F403
