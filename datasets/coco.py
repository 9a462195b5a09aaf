"""Moved to keyshift.datasets.own.labels and keyshift.datasets.bodies.coco; this name is kept for one version."""

from .bodies.coco import *  # noqa: F403
from .own.labels import *  # noqa: F403
