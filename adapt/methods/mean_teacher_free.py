"""Source-free mean teacher: a given model follows a slow copy of itself on the unlabelled target alone.

What SFDA methods for keypoints (POST, MAPS) build on: UniFrame's consistency (Kim et al., ECCV 2022;
VisionLearningGroup/UDA_PoseEstimation @ baf85f1) without its source.
"""

from __future__ import annotations

from .mean_teacher import MeanTeacher


class MeanTeacherFree(MeanTeacher):
    """`MeanTeacher` that opens no source."""

    title = "Source-free mean teacher"
    about = "consistency with a moving average of a given model's weights, on the target alone"
    kind = "source_free"
    needs = frozenset({"target"})
