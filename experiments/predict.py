"""Moved to keyshift.experiments.commands.predict; this name is kept for one version."""

from .commands.predict import *  # noqa: F403
