"""Moved to keyshift.models.systems.pose_resnet; this name is kept for one version."""

from .systems.pose_resnet import *  # noqa: F403
