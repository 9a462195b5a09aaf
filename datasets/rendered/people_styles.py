"""The styles of rendered people. A style is a domain: "lab" is one of four cameras in a plain room, one or two of a few
subjects who walk or stand, even light; "wild" has another camera for each scene, up to four people in all poses and
clothes, clutter, coloured hard light, blur and noise.
"""

from __future__ import annotations

from dataclasses import dataclass

from .person_poses import LAB, WILD

MOST = 4
"""People in a scene."""
BLOCK = 20
"""Neighbouring scenes of the lab that show the same subjects."""
CAMERAS = 4
"""Of the lab, for one seed."""


@dataclass(frozen=True)
class PeopleStyle:
    """A domain: from which distributions scenes and cameras are drawn. Pairs are (lowest, highest)."""

    name: str
    people: tuple[float, ...]
    """Shares of scenes with one, two ... people."""
    poses: dict[str, float]
    focal: tuple[float, float]
    """Share of the picture's width."""
    distance: tuple[float, float]
    """mm along the floor from camera to person."""
    height: tuple[float, float]
    """mm of the camera above the floor."""
    roll: float
    """Degrees, standard deviation."""
    aim: float
    """Degrees, standard deviation of where the camera looks, up and down, around people's middle."""
    reach: float
    """How far from the picture's middle people stand, share of its half width."""
    tone: tuple[float, float]
    varied: float
    """How much clothes differ, 0 to 1."""
    children: float
    crowded: float
    """Share of people who are drawn in line with another, so that one hides a part of the other."""
    things: int
    """Round things standing about."""
    clutter: int
    fixed: bool = False
    """Few cameras and subjects, the same for all scenes of a seed."""
    tint: float = 0.04
    hard: tuple[float, float] = (0.0, 0.15)
    exposure: tuple[float, float] = (0.95, 1.05)
    blur: tuple[float, float] = (0.0, 0.1)
    noise: tuple[float, float] = (0.0, 0.006)
    vignette: float = 0.04
    veil: float = 0.0
    shake: float = 0.0
    """Of videos: standard deviation of the camera's sway, share of the picture."""


STYLES = {
    "lab": PeopleStyle(
        name="lab",
        people=(0.65, 0.35),
        poses=LAB,
        focal=(1.15, 1.4),
        distance=(3500.0, 4600.0),
        height=(1300.0, 1900.0),
        roll=0.0,
        aim=0.0,
        reach=800.0,
        tone=(0.1, 0.45),
        varied=0.35,
        children=0.0,
        crowded=0.0,
        things=0,
        clutter=0,
        fixed=True,
    ),
    "wild": PeopleStyle(
        name="wild",
        people=(0.25, 0.35, 0.25, 0.15),
        poses=WILD,
        focal=(0.55, 1.6),
        distance=(2000.0, 8000.0),
        height=(400.0, 2700.0),
        roll=3.0,
        aim=4.0,
        reach=0.75,
        tone=(0.0, 1.0),
        varied=1.0,
        children=0.14,
        crowded=0.6,
        things=5,
        clutter=4,
        tint=0.22,
        hard=(0.15, 1.0),
        exposure=(0.6, 1.3),
        blur=(0.05, 0.5),
        noise=(0.004, 0.03),
        vignette=0.15,
        veil=0.18,
        shake=0.012,
    ),
}
