"""BVH files: known answers of hand-written clips, and what is said of broken ones."""

from pathlib import Path

import numpy as np
import pytest

from keyshift.datasets.reading.annotations import BadAnnotation
from keyshift.datasets.reading.bvh import read_bvh

ARM = """HIERARCHY
ROOT hips
{
  OFFSET 1 2 3
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT upper
  {
    OFFSET 0 10 0
    CHANNELS 3 Yrotation Zrotation Xrotation
    JOINT lower
    {
      OFFSET 5 0 0
      CHANNELS 2 Zposition Zrotation
      End Site
      {
        OFFSET 0 2 0
      }
    }
  }
  JOINT other
  {
    OFFSET -4 0 0
    CHANNELS 0
  }
}
MOTION
Frames: 3
Frame Time: 0.04
0 0 0 0 0 0  0 0 0  0 0
7 8 9 90 0 0  0 0 0  0 0
0 0 0 0 90 90  90 0 0  6 90
"""


def clip(folder: Path, text: str = ARM) -> Path:
    path = folder / "clip.bvh"
    path.write_text(text)
    return path


def test_forward_kinematics_of_a_hand_written_clip(tmp_path: Path) -> None:
    read = read_bvh(clip(tmp_path))
    assert read.names == ("hips", "upper", "lower", "lower_end", "other")
    assert read.parents == (-1, 0, 1, 2, 0)
    assert read.frame_time == 0.04
    places, turns = read.forward()
    # Positions replace the offset, all three or one of them.
    rest = [[0, 0, 0], [0, 10, 0], [5, 10, 0], [5, 12, 0], [-4, 0, 0]]
    np.testing.assert_allclose(places[0], rest, atol=1e-12)
    # 90 degrees about z take x to y and y to -x.
    np.testing.assert_allclose(places[1], [[7, 8, 9], [-3, 8, 9], [-3, 13, 9], [-5, 13, 9], [7, 4, 9]], atol=1e-12)
    # Xrotation stands before Yrotation: R = Rx(90) Ry(90). y goes to z. The upper joint's Ry(90) then comes inside.
    turn = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0.0]])
    np.testing.assert_allclose(turns[2, 0], turn, atol=1e-12)
    upper = turn @ np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0.0]])
    lower = places[2, 1] + upper @ [5, 0, 6]
    np.testing.assert_allclose(places[2, 2], lower, atol=1e-12)
    np.testing.assert_allclose(places[2, 3], lower + upper @ [-2, 0, 0], atol=1e-12)


@pytest.mark.parametrize(
    ("before", "after", "line", "said"),
    [
        ("HIERARCHY", "HIERARCHIE", 1, "expected 'HIERARCHY'"),
        ("OFFSET 0 10 0", "OFFSET 0 ten 0", 8, "3 numbers"),
        ("OFFSET 0 10 0", "OFFSET 0 10", 8, "2 numbers, expected 3"),
        ("CHANNELS 3 Y", "CHANNELS 4 Y", 9, "CHANNELS"),
        ("Yrotation Zrotation", "Yrotation Wrotation", 9, "CHANNELS"),
        ("JOINT other", "JOINT lower", 20, "no other joint has"),
        ("JOINT other", "BONE other", 20, "JOINT with a name"),
        ("Frames: 3", "Frames: 2.5", 27, "whole number"),
        ("Frame Time: 0.04", "Frame Time: 0", 28, "above 0"),
        ("0 0 0 0 90 90  90", "0 0 0 0 nan 90  90", 31, "finite"),
        ("7 8 9 90", "7 8 90", 30, "10 numbers, expected 11"),
        ("Frames: 3", "Frames: 4", 31, "at its end"),
        ("Frames: 3", "Frames: 2", 31, "1 more lines"),
    ],
)
def test_a_broken_clip_is_named_with_its_line(tmp_path: Path, before: str, after: str, line: int, said: str) -> None:
    assert before in ARM
    path = clip(tmp_path, ARM.replace(before, after, 1))
    with pytest.raises(BadAnnotation, match=f"clip.bvh, line {line}: .*{said}"):
        read_bvh(path)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "clip.bvh"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadAnnotation, match="a BVH file, which is text"):
        read_bvh(path)
