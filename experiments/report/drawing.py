"""Keypoints drawn on crops. Pictures are (H, W, 3) uint8 RGB; every function returns a new one.

Points follow the house convention (pixel centres at +0.5), OpenCV counts pixel centres from 0: the half pixel is
taken off here, where OpenCV is called, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from ...adapt.scoring.evaluation import Predictions
from ...adapt.scoring.matching import SPAN_MM
from ...datasets.reading.files import write_whole
from ...datasets.sample import MASK, Item, PoseDataset, to_pixels
from ...datasets.sensor import Sensor

Colour = tuple[int, int, int]
WHITE: Colour = (255, 255, 255)
DARK: Colour = (24, 24, 24)
PAPER: Colour = (246, 246, 244)
OUTSIDE: Colour = (70, 70, 70)
"""What a crop shows beyond the image's border."""
MASKED: Colour = (235, 70, 70)
"""Where people stand of whom nothing is labelled."""
ROOM = 0.6
"""Half the side of a tile about keypoints alone, in lengths of what they span."""
SURE = 0.5
"""From which confidence on a 2D keypoint of a detector's is drawn as seen."""
INSET = 0.4
"""The side of a tile's corner that shows a pose from the side."""
AMONG = 0.6
"""The weight of one person's lines in a picture of several."""
NEAREST, FARTHEST = 255, 90
"""Greys of depth: what is near is bright, and what gave no return is black."""

_SHIFT = 4  # OpenCV draws at 1/16 px: joints of small crops do not jump to whole pixels
_SUPERSAMPLING = 8
_CAPTION = 18


def crop(image: np.ndarray, box: np.ndarray, tile: int) -> np.ndarray:
    """The square `box` (left, top, right, bottom in file px) of an image, resized to (tile, tile, 3)."""
    scale = tile / _side(box)
    # warpAffine reads single points: a crop that shrinks is warped larger and averaged down, else it shimmers.
    fine = int(np.clip(np.ceil(1 / scale), 1, _SUPERSAMPLING))
    matrix = np.array([[scale * fine, 0, -box[0] * scale * fine], [0, scale * fine, -box[1] * scale * fine]])
    matrix[:, 2] += matrix[:, :2].sum(1) * 0.5 - 0.5
    size = (tile * fine, tile * fine)
    warped = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderValue=OUTSIDE)
    return warped if fine == 1 else cv2.resize(warped, (tile, tile), interpolation=cv2.INTER_AREA)


def view(item: Item, tile: int) -> np.ndarray:
    """An item's crop as a picture (tile, tile, 3), of a clip its middle frame; grey where there are keypoints alone."""
    image = item.image
    if not image.size:
        return np.full((tile, tile, 3), OUTSIDE, np.uint8)
    if image.ndim == 4:
        image = image[len(image) // 2]
    elif image.ndim == 2:
        image = depth_picture(image, _range(item))
    box = item.box
    if item.to_file is not None:  # a part of the file that is kept at another scale: no rotation
        box = (box - np.tile(item.to_file[:, 2], 2)) / np.tile(np.diag(item.to_file[:, :2]), 2)
    return crop(image, box, tile)


def depth_picture(image: np.ndarray, reach: tuple[float, float]) -> np.ndarray:
    """Depth (H, W) in mm as grey (H, W, 3): from NEAREST to FARTHEST over `reach` (near, far), held at its ends."""
    near, far = reach
    share = ((image - near) / max(far - near, 1e-6)).clip(0, 1)
    grey = np.where(image > 0, NEAREST + (FARTHEST - NEAREST) * share, 0).round().astype(np.uint8)
    return np.repeat(grey[..., None], 3, 2)


def _range(item: Item) -> tuple[float, float]:
    """The depths that matter: of the cube, where the item has one, else of all that returned."""
    if item.center is not None and item.cube is not None:
        return float(item.center[2] - item.cube[2] / 2), float(item.center[2] + item.cube[2] / 2)
    returned = item.image[item.image > 0]
    return (float(returned.min()), float(returned.max())) if returned.size else (0.0, 1.0)


def to_tile(points: np.ndarray, box: np.ndarray, tile: int) -> np.ndarray:
    """x and y of points (..., 2 or 3) in file px as px of the tile that `crop` makes of `box`."""
    return (np.asarray(points, np.float64)[..., :2] - np.asarray(box, np.float64)[:2]) * (tile / _side(box))


def in_picture(points: np.ndarray, item: Item) -> np.ndarray:
    """Points (P, K, 2 or 3) of an item's people in file px; those in the camera's frame through its camera, those from
    the root with it at its true place, NaN where either is not known."""
    if not item.in_camera:
        return points
    if not (item.camera[:2] > 0).all() or (item.rooted and item.points is None):
        return np.full_like(points, np.nan)
    if item.rooted and item.points is not None:
        points = points + (item.points - item.keypoints)[..., :1, :]
    camera = torch.from_numpy(np.asarray(item.camera, np.float64))
    return to_pixels(torch.from_numpy(np.asarray(points, np.float64)), camera[None]).numpy()


def everyone(item: Item) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(keypoints (K, 2 or 3) in file px, visible (K,), annotated (K,)) of each person of an item, one of a crop."""
    count = item.annotated.shape[-1]
    points = in_picture(item.keypoints.reshape(-1, *item.keypoints.shape[-2:]), item)
    yield from zip(points, item.visible.reshape(-1, count), item.annotated.reshape(-1, count), strict=True)


def shown_box(item: Item) -> np.ndarray:
    """(4,) left, top, right, bottom of what a tile shows, file px: the item's box, of keypoints alone a square about
    those that the detector is sure of."""
    if item.image.size or "keypoints2d" not in item.inputs:
        return item.box
    here = middle_frame(item)
    seen = here[here[:, 2] >= SURE, :2]
    if not len(seen):
        return item.box
    middle, half = (seen.min(0) + seen.max(0)) / 2, ROOM * max(np.ptp(seen, axis=0).max(), 1)
    return np.array([*(middle - half), *(middle + half)])


def middle_frame(item: Item) -> np.ndarray:
    """(K, 3) the 2D keypoints of the sample itself, file px and a confidence."""
    window = item.inputs["keypoints2d"]
    middle: np.ndarray = window[len(window) // 2]
    return middle


def from_the_side(points: np.ndarray, tile: int) -> np.ndarray:
    """Poses (..., K, 3) mm from the root as they look from the left: (..., K, 2) px of a tile that is 2 m wide, what
    is nearer to the camera on the left."""
    return points[..., [2, 1]] * (tile / SPAN_MM) + tile / 2


def blur(picture: np.ndarray, cells: int = 7) -> np.ndarray:
    """The picture reduced to cells x cells averages and smoothed: colours and layout stay, a face does not."""
    height, width = picture.shape[:2]
    coarse = cv2.resize(picture, (cells, cells), interpolation=cv2.INTER_AREA)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)


def draw(
    picture: np.ndarray,
    points: np.ndarray,
    edges: Sequence[tuple[int, int]],
    colours: Colour | Sequence[Colour],
    *,
    known: np.ndarray | None = None,
    hidden: np.ndarray | None = None,
    halo: Colour = DARK,
    weight: float = 1.0,
) -> np.ndarray:
    """A skeleton drawn on a picture.

    points (K, 2) in px of the picture; `colours` one for all or one for each keypoint (an edge takes that of its
    second end); `known` (K,) bool: the others are left out, with their edges; `hidden` (K,) bool: drawn hollow.
    The halo keeps the drawing readable on any background.
    """
    points = np.asarray(points, np.float64)
    count = len(points)
    palette = _palette(colours, count)
    shown = np.isfinite(points).all(1) & (np.ones(count, bool) if known is None else known)
    hollow = np.zeros(count, bool) if hidden is None else hidden
    result = np.ascontiguousarray(picture).copy()
    at = _fixed_point(points, max(picture.shape[:2]))
    unit = weight * max(picture.shape[0] / 192, 0.5)
    thin, radius = max(1, round(1.6 * unit)), 3.2 * unit

    bones = [(a, b) for a, b in edges if shown[a] and shown[b]]
    for colour, width in ((halo, thin + 2), (None, thin)):
        for a, b in bones:
            cv2.line(result, at[a], at[b], colour or palette[b], width, cv2.LINE_AA, _SHIFT)
    for k in np.flatnonzero(shown):
        wide = 1.5 * radius if hollow[k] else radius
        _joint(result, at[k], wide, palette[k], halo)
        if hollow[k]:
            _uncover(result, picture, at[k], 0.68 * wide)
    return result


def joint_colours(count: int) -> list[Colour]:
    """Distinct colours along the order of keypoints, so that a swapped or mirrored joint stands out."""
    ramp = np.linspace(16, 240, count).round().astype(np.uint8)[:, None]
    table = cv2.applyColorMap(ramp, cv2.COLORMAP_TURBO)[:, 0, ::-1]
    return [(int(r), int(g), int(b)) for r, g, b in table]


def draw_item(item: Item, edges: Sequence[tuple[int, int]], tile: int) -> np.ndarray:
    """An item's crop with everyone's keypoints: seen joints filled, hidden ones hollow, unknown ones left out. Of a
    whole picture with its people's boxes, and shaded where no label counts."""
    picture, colours = view(item, tile), joint_colours(item.annotated.shape[-1])
    if not item.image.size and "keypoints2d" in item.inputs:
        return draw_sequence(picture, item, edges, colours)
    picture = around(shaded(picture, item), item)
    weight = AMONG if item.keypoints.ndim == 3 else 1.0
    for points, visible, annotated in everyone(item):
        at = to_tile(points, item.box, tile)
        hidden = ~np.asarray(visible, bool)
        picture = draw(picture, at, edges, colours, known=annotated, hidden=hidden, weight=weight)
    return picture


def draw_sequence(
    picture: np.ndarray, item: Item, edges: Sequence[tuple[int, int]], colours: Sequence[Colour]
) -> np.ndarray:
    """A tile with the 2D keypoints of a sample of keypoints alone, hollow where the detector is not sure,
    over the true ones in white; of a pose from the root, in a corner, how it looks from the side."""
    tile, box, here = picture.shape[0], shown_box(item), middle_frame(item)
    for truth, _, known in everyone(item):
        picture = draw(picture, to_tile(truth, box, tile), edges, WHITE, known=known, weight=AMONG)
    sure = here[:, 2]
    picture = draw(picture, to_tile(here, box, tile), edges, colours, known=sure > 0, hidden=sure < SURE)
    return inset(picture, item.keypoints, edges, colours) if item.rooted and item.annotated.any() else picture


def inset(
    picture: np.ndarray, pose: np.ndarray, edges: Sequence[tuple[int, int]], colours: Colour | Sequence[Colour]
) -> np.ndarray:
    """A tile with a pose (K, 3) mm from the root in its lower right corner, from the side, over what is there."""
    result, small = picture.copy(), round(INSET * picture.shape[0])
    corner = result[-small:, -small:]
    corner[:] = draw(corner, from_the_side(pose, small), edges, colours, weight=AMONG)
    return result


def shaded(picture: np.ndarray, item: Item) -> np.ndarray:
    """The tile of an item with what its mask leaves out tinted in MASKED."""
    if MASK not in item.inputs:
        return picture
    whole = item.inputs[MASK]
    tile = picture.shape[0]
    left_out = view(replace(item, image=np.repeat((1 - whole)[..., None] * 255, 3, 2)), tile)[..., 0] > 128
    tint = (picture * 0.5 + np.array(MASKED) * 0.5).round().astype(np.uint8)
    return np.where(left_out[..., None], tint, picture)


def around(picture: np.ndarray, item: Item) -> np.ndarray:
    """The tile of an item with its people's boxes, where it tells them: of labelled people white, of others MASKED, of
    crowds with the word."""
    if item.bounds is None or item.crowd is None:
        return picture
    result, tile = np.ascontiguousarray(picture).copy(), picture.shape[0]
    corners = to_tile(item.bounds.reshape(-1, 2, 2), item.box, tile).clip(-1, tile)
    for (low, high), known, crowd in zip(corners.round().astype(int), _labelled(item), item.crowd, strict=True):
        start, end = (int(low[0]), int(low[1])), (int(high[0]) - 1, int(high[1]) - 1)
        colour = WHITE if known else MASKED
        cv2.rectangle(result, start, end, colour, 2 if crowd else 1)
        if crowd:
            at = max(start[0], 0) + 3, max(start[1], 0) + 12
            cv2.putText(result, "crowd", at, cv2.FONT_HERSHEY_SIMPLEX, 0.4, WHITE, 1, cv2.LINE_AA)
    return result


def _labelled(item: Item) -> np.ndarray:
    """(P,) bool: any keypoint of the person is annotated."""
    return np.asarray(item.annotated.any(1))


def counted(item: Item) -> str:
    """How many people a whole picture shows, in words; empty of a crop."""
    if item.keypoints.ndim < 3:
        return ""
    known = _labelled(item)
    crowds = np.zeros_like(known) if item.crowd is None else item.crowd
    parts = ["1 person" if known.sum() == 1 else f"{known.sum()} people"]
    bare = int((~known & ~crowds).sum())
    parts += [f"{bare} unlabelled"] * (bare > 0) + [f"{crowds.sum()} crowd"] * bool(crowds.any())
    return ", ".join(parts) + ": "


def contact_sheet(dataset: PoseDataset, count: int = 24, columns: int = 8, tile: int = 192) -> np.ndarray:
    """(H, W, 3) uint8: `count` samples spread evenly over the dataset, joints drawn, hidden joints hollow.

    Raises ValueError for an empty dataset and for sizes below 1.
    """
    if min(count, columns, tile) < 1:
        raise ValueError(f"count, columns and tile must be at least 1, not {count}, {columns}, {tile}")
    if not len(dataset):
        raise ValueError(f"dataset {dataset.name!r} is empty: there is nothing to draw")
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int))
    columns = min(columns, len(chosen))
    rows, gap = -(-len(chosen) // columns), max(2, tile // 32)
    height, width = tile + _CAPTION, tile + gap
    sheet = np.full((gap + rows * (height + gap), gap + columns * width, 3), PAPER, np.uint8)
    for place, index in enumerate(chosen):
        item = dataset[int(index)]
        top, left = gap + place // columns * (height + gap), gap + place % columns * width
        sheet[top : top + tile, left : left + tile] = draw_item(item, dataset.skeleton.edges, tile)
        _caption(sheet[top + tile : top + height, left : left + tile], f"{index}  {counted(item)}{item.id}")
    return sheet


def _palette(colours: Colour | Sequence[Colour], count: int) -> list[Colour]:
    each = [colour for colour in colours if not isinstance(colour, int)]
    if each and len(each) != count:
        raise ValueError(f"{len(each)} colours for {count} keypoints: give one for all or one for each")
    return each or [(int(colours[0]), int(colours[1]), int(colours[2]))] * count  # type: ignore[arg-type]


def prediction_sheet(
    dataset: PoseDataset, predictions: Predictions, columns: int = 8, count: int = 16, tile: int = 160
) -> np.ndarray:
    """Samples spread over the dataset, the truth in white and the predictions in colour, everyone in a picture, who was
    invented too.

    Samples in which no joint is annotated are left out, for they may be ones that cannot be read; where there is no
    other, the sheet is one empty row.
    """
    row, matched, points = (np.asarray(part) for part in (predictions.row, predictions.matched, predictions.points))
    answers, within = points[matched], row[matched]
    if predictions.answers is not None:
        answers, within = np.asarray(predictions.answers.points), np.asarray(predictions.answers.row)
    tiles, usable = [], np.unique(row[np.asarray(predictions.annotated).any(1)])
    if not len(usable):
        return np.full((tile, columns * tile, 3), 255, np.uint8)
    for index in usable[np.linspace(0, len(usable) - 1, min(count, len(usable))).round().astype(int)]:
        item, edges, colours = dataset[int(index)], dataset.skeleton.edges, joint_colours(len(dataset.skeleton))
        picture, box = view(item, tile), shown_box(item)
        for truth, _, known in everyone(item):
            picture = draw(picture, to_tile(truth, box, tile), edges, WHITE, known=known)
        for person in in_picture(answers[within == index], item):
            picture = draw(picture, to_tile(person, box, tile), edges, colours)
        if item.in_camera and item.rooted:
            picture = inset(picture, item.keypoints, edges, WHITE)
            for pose in answers[within == index]:
                picture = inset(picture, pose, edges, colours)
        tiles.append(picture)
    while len(tiles) % columns:
        tiles.append(np.full_like(tiles[0], 255))
    return np.concatenate([np.concatenate(tiles[i : i + columns], 1) for i in range(0, len(tiles), columns)])


def sensor_sheet(source: Sequence[np.ndarray], target: Sequence[np.ndarray], sensor: Sensor) -> np.ndarray:
    """Three rows of crops: the source's, the same as the target's sensor shows them, and the target's."""
    rng, always = np.random.default_rng(0), replace(sensor, probability=1.0)
    rows = [list(source), [always.apply(image, rng) for image in source], list(target)]
    count = min(map(len, rows))
    return np.concatenate([np.concatenate([_coloured(image) for image in row[:count]], 1) for row in rows])


def _coloured(image: np.ndarray) -> np.ndarray:
    """A crop as RGB; of depth what is near is bright and the void black."""
    if image.ndim == 3:
        return image
    far = max(float(image.max()), 1e-6)
    grey = np.where(image < far, (NEAREST + FARTHEST - (NEAREST - FARTHEST) * image / far) / 2, 0)
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, -1)


def write_picture(path: Path, picture: np.ndarray) -> None:
    """An RGB picture as a file of the path's type, whole or not at all. Raises ValueError for an unknown type."""
    try:
        encoded = cv2.imencode(path.suffix or ".png", picture[..., ::-1])[1]
    except cv2.error as error:
        raise ValueError(f"cannot write a picture of type {path.suffix!r}; use .png or .jpg") from error
    write_whole(path, lambda file: file.write(encoded.tobytes()))


def _side(box: np.ndarray) -> float:
    side = float(max(box[2] - box[0], box[3] - box[1]))
    if not side > 0:
        raise ValueError(f"a crop's box must have right > left and bottom > top, got {[float(x) for x in box]}")
    return side


def _fixed_point(points: np.ndarray, size: int) -> list[tuple[int, int]]:
    """OpenCV's fixed-point pixels; wild predictions are held near the picture, else they overflow its int32."""
    near = np.clip(np.nan_to_num(points), -8 * size, 9 * size)
    return [(int(x), int(y)) for x, y in np.round((near - 0.5) * 2**_SHIFT)]


def _joint(picture: np.ndarray, at: tuple[int, int], radius: float, colour: Colour, halo: Colour) -> None:
    size = round(radius * 2**_SHIFT)
    cv2.circle(picture, at, size + 2**_SHIFT, halo, cv2.FILLED, cv2.LINE_AA, _SHIFT)
    cv2.circle(picture, at, size, colour, cv2.FILLED, cv2.LINE_AA, _SHIFT)


def _uncover(drawn: np.ndarray, picture: np.ndarray, at: tuple[int, int], radius: float) -> None:
    """Make a joint hollow: the picture beneath shows through its middle. (OpenCV's thin rings are ragged.)"""
    mask = np.zeros(picture.shape[:2], np.uint8)
    cv2.circle(mask, at, round(radius * 2**_SHIFT), 255, cv2.FILLED, cv2.LINE_AA, _SHIFT)
    share = mask[..., None] / 255
    drawn[:] = np.round(drawn * (1 - share) + picture * share)


def _caption(strip: np.ndarray, text: str) -> None:
    """Index and id under a tile; OpenCV's font holds ASCII only, and what does not fit is cut."""
    plain = text.encode("ascii", "replace").decode()
    room = max(1, strip.shape[1] // 7)
    written = np.ascontiguousarray(strip)
    cv2.putText(written, plain[:room], (1, _CAPTION - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.38, DARK, 1, cv2.LINE_AA)
    strip[:] = written
