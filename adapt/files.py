"""Moved to keyshift.models.saved; this name is kept for one version."""

from ..models.saved import *  # noqa: F403
