"""What the tests of the picture sets of bodies share: a stick figure, and the camera's arithmetic in plain words."""

import numpy as np

SIDES = {
    **{"hip": (90, 20, 0), "knee": (100, 430, -30), "ankle": (110, 850, 20), "foot": (120, 900, -110)},
    **{"collar": (70, -450, 0), "shoulder": (180, -480, 10), "elbow": (290, -230, 0), "wrist": (330, -20, -90)},
    **{"hand": (335, 60, -120), "toe": (125, 910, -160)},
}
MIDDLE = {
    **{"pelvis": (0, 0, 0), "spine1": (0, -110, 10), "spine2": (0, -240, 10), "spine3": (0, -300, 15)},
    **{"spine": (0, -235, 10), "neck": (0, -510, 0), "head": (0, -600, -20), "nose": (0, -590, -110)},
    **{"head_top": (0, -720, 0)},
}
PLACES = {
    **MIDDLE,
    **{f"left_{name}": place for name, place in SIDES.items()},
    **{f"right_{name}": (-x, y, z) for name, (x, y, z) in SIDES.items()},
}
"""mm in the camera's frame of someone who faces the camera: their left is on the picture's right."""


def figure(names, place=(0, 0, 5000), turn=0.0):
    """(K, 3) mm in the camera's frame; turned by `turn` radians, at `place`. No two joints are alike."""
    c, s = np.cos(turn), np.sin(turn)
    rotation = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    uneven = np.random.default_rng(5).uniform(-15, 15, (len(names), 3))
    return (np.array([PLACES[name] for name in names]) + uneven) @ rotation.T + place


def seen(points, camera):
    """(K, 2) px: points (K, 3) through fx, fy, cx, cy."""
    fx, fy, cx, cy = camera
    return np.array([(fx * x / z + cx, fy * y / z + cy) for x, y, z in points])


SIZE = (160, 120)
"""Width and height of the pictures of `crowd`."""


def crowd(names, count=2, lens=(110.0, 112.0, 80.5, 60.25)):
    """Of `count` pictures the places of three people each, (K, 3) mm: the second beside the first, the third apart."""
    places = [[(-900 + 40 * n, 60, 4000), (-600, 0, 4900), (900, 0, 4500 + 10 * n)] for n in range(count)]
    people = [[figure(names, place, 0.3 * k - 0.2 * n) for k, place in enumerate(row)] for n, row in enumerate(places)]
    return people, np.array(lens)


def mppe_box(flat):
    """Left, top, width and height that G. Moon's converters write for joints (K, 2) px."""
    low, high = flat.min(0), flat.max(0)
    extent = (high - low - 1) * 1.2
    return [*((low + high) / 2 - extent / 2).tolist(), *extent.tolist()]


def mppe_crop(box):
    """(4,) the crop that the reference cuts of a box within the picture: its edges with pixel centres at +0.5."""
    x, y, width, height = np.array(box) - [0, 0, 1, 1]
    middle, half = np.array([x + width / 2, y + height / 2]) + 0.5, max(width, height) * 1.25 / 2
    return np.concatenate([middle - half, middle + half])


def check_item(item, points, camera, pixels=0.05):
    """The item has these points (K, 3) mm, and its camera shows them where its keypoints are."""
    assert np.abs(item.points - points).max() < 0.1
    assert np.abs(item.keypoints - seen(points, camera)).max() < pixels
    assert np.abs(item.keypoints - seen(item.points, item.camera.astype(float))).max() < pixels
    assert item.annotated.all()
    assert item.visible.all()
