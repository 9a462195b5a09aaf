import struct
import warnings
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from keyshift.datasets.reading import images
from keyshift.datasets.reading.images import UnreadableImage, read_image


@pytest.fixture
def colours():
    """(24, 32, 3) smooth, so that JPEG keeps it."""
    y, x = np.mgrid[:24, :32]
    return np.stack([x * 7, y * 10, 255 - x * 3 - y * 4], -1).astype(np.uint8)


def close(image, wanted, levels):
    assert image.dtype == np.uint8
    assert image.shape == wanted.shape
    assert np.abs(image.astype(float) - wanted).max() <= levels


@pytest.mark.parametrize(
    ("suffix", "levels"), [("png", 0), ("bmp", 0), ("tif", 0), ("webp", 12), ("jpg", 6), ("ppm", 0)]
)
def test_formats(tmp_path, colours, suffix, levels):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(colours).save(path, **({"quality": 98, "subsampling": 0} if suffix == "jpg" else {"quality": 98}))
    close(read_image(path), colours, levels)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path, suffix):
    deep = (np.arange(24 * 32) * 85).reshape(24, 32).astype(np.uint16)
    path = tmp_path / f"grey.{suffix}"
    Image.fromarray(deep).save(path)
    close(read_image(path), np.repeat(np.rint(deep / 257)[..., None], 3, 2), 0)
    for name, channels in (
        ("rgb", [deep, deep.T.reshape(24, 32), deep[::-1]]),
        ("rgba", [deep, deep, deep[::-1], deep]),
    ):
        file = tmp_path / f"{name}.{suffix}"
        stacked = np.stack(channels, -1)
        assert cv2.imwrite(str(file), stacked[..., [2, 1, 0, 3][: len(channels)]])
        close(read_image(file), stacked[..., :3] / 257, 1)


def test_big_endian_tiff_of_sixteen_bits(tmp_path):
    deep = (np.arange(6) * 10000).reshape(2, 3).astype(">u2")
    tags = [(256, 3, 3), (257, 3, 2), (258, 3, 16), (259, 3, 1), (262, 3, 1), (273, 4, 0), (277, 3, 1), (278, 3, 2)]
    tags.append((279, 4, 12))
    start = 8 + 2 + 12 * len(tags) + 4
    fields = b"".join(
        struct.pack(">HHI", tag, kind, 1) + (struct.pack(">HH", v, 0) if kind == 3 else struct.pack(">I", v or start))
        for tag, kind, v in tags
    )
    path = tmp_path / "a.tiff"
    path.write_bytes(b"MM\0*" + struct.pack(">IH", 8, len(tags)) + fields + b"\0\0\0\0" + deep.tobytes())
    close(read_image(path)[..., 0], np.rint(deep.astype(float) / 257), 0)


def test_levels_without_a_known_white_are_refused(tmp_path):
    for name, values in (("float", np.ones((4, 4), np.float32)), ("deep", np.full((4, 4), 70000, np.int32))):
        path = tmp_path / f"{name}.tif"
        Image.fromarray(values).save(path)
        with pytest.raises(UnreadableImage, match=rf"{name}\.tif: its levels are .*export it with 8 or 16 bit"):
            read_image(path)


def test_other_modes(tmp_path, colours):
    image = Image.fromarray(colours)
    grey = np.asarray(image.convert("L"))
    image.convert("L").save(tmp_path / "grey.jpg", quality=98)
    close(read_image(tmp_path / "grey.jpg"), np.repeat(grey[..., None], 3, 2), 4)
    image.convert("1").save(tmp_path / "bit.png")
    assert set(np.unique(read_image(tmp_path / "bit.png"))) == {0, 255}
    palette = image.quantize(16)
    palette.save(tmp_path / "palette.png", transparency=bytes(range(16)))
    close(read_image(tmp_path / "palette.png"), np.asarray(palette.convert("RGB")), 0)
    image.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=98)
    close(read_image(tmp_path / "cmyk.jpg"), colours, 8)
    image.putalpha(0)
    image.save(tmp_path / "alpha.png")
    close(read_image(tmp_path / "alpha.png"), colours, 0)  # what lies below the transparency


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns(tmp_path, colours, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(colours).save(tmp_path / "a.png", exif=exif)
    deep = Image.fromarray(colours[..., 0].astype(np.uint16) * 257)
    deep.save(tmp_path / "deep.png", exif=exif)
    turned = {
        **{1: colours, 2: colours[:, ::-1], 3: colours[::-1, ::-1], 4: colours[::-1], 5: colours.swapaxes(0, 1)},
        **{6: np.rot90(colours, -1), 7: colours[::-1, ::-1].swapaxes(0, 1), 8: np.rot90(colours)},
    }
    close(read_image(tmp_path / "a.png"), turned[orientation], 0)
    close(read_image(tmp_path / "deep.png"), turned[orientation][..., [0, 0, 0]], 0)


def png(width, height):
    """A PNG of that size by its header, with hardly a pixel in it."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 9)) + chunk(b"IEND", b"")


def test_broken_ones_name_path_and_reason(tmp_path):
    whole = tmp_path / "whole.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(whole)
    broken = {
        "empty.jpg": (b"", "the file is empty"),
        "text.jpg": (b"hello", "cannot identify"),
        "postscript.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "cannot identify"),
        "truncated.jpg": (whole.read_bytes()[:1500], "truncated"),
        "bomb.png": (png(60000, 60000), "more than 500 megapixels, or .*: scale it down"),
        "absurd.png": (png(2**31 - 1, 2**31 - 1), ""),
        "short.png": (png(64, 64), "truncated"),
        "phone.jpg": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 99, "it is HEIC, .*: convert it"),
        "phone.png": (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + b"\0" * 99, "it is HEIC"),
        "pointer.png": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        "page.jpg": (b"\n<!DOCTYPE html>\n<html>sign in</html>", "a web page instead of the file itself"),
        "strips.tif": (b"II*\0\x08\0\0\0\xff\xff" + b"\xff" * 40, ""),
    }
    for name, (content, reason) in broken.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UnreadableImage, match=rf"cannot read the image .*{name}: .*{reason}"):
            read_image(tmp_path / name)
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    for name in ("folder.jpg", "loop.jpg", "missing.jpg", "nul\0.jpg", "x" * 300 + ".jpg"):
        with pytest.raises(UnreadableImage, match="cannot read the image"):
            read_image(tmp_path / name)


def test_colours_as_floats_say_what_to_export(tmp_path):
    cv2.imwrite(str(tmp_path / "a.tif"), np.full((8, 8, 3), 0.5, np.float32))
    with pytest.raises(UnreadableImage, match="a TIFF of a kind that is not read: export it with 8 or 16 bit"):
        read_image(tmp_path / "a.tif")


def test_a_wrong_suffix_does_not_matter(tmp_path, colours):
    Image.fromarray(colours).save(tmp_path / "a.jpg", format="PNG")
    close(read_image(tmp_path / "a.jpg"), colours, 0)


@pytest.mark.parametrize("error", [MemoryError(), OverflowError("too large"), struct.error("unpack"), KeyError(3)])
def test_whatever_a_decoder_raises(tmp_path, colours, error, monkeypatch):
    def fails(*_, **__):
        raise error

    Image.fromarray(colours).save(tmp_path / "a.png")
    monkeypatch.setattr(Image.Image, "convert", fails)
    with pytest.raises(UnreadableImage, match=rf"a\.png: {str(error) or 'MemoryError'}"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp", "webp", "gif"])
def test_bytes_at_random_never_raise_anything_else(tmp_path, colours, suffix):
    rng = np.random.default_rng(0)
    path = tmp_path / "a"
    Image.fromarray(colours).save(tmp_path / f"whole.{suffix}")
    whole = np.frombuffer((tmp_path / f"whole.{suffix}").read_bytes(), np.uint8)
    failed = 0
    for _ in range(60):
        spoilt = whole.copy()
        spoilt[rng.integers(0, min(len(whole), 200), 3)] = rng.integers(0, 256, 3)
        path.write_bytes(spoilt[: rng.integers(8, 2 * len(whole))].tobytes())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                assert read_image(path).shape[2] == 3
            except UnreadableImage:
                failed += 1
    assert failed


def test_two_hundred_megapixels_are_read_and_absurd_ones_are_not(tmp_path):
    path = tmp_path / "large.png"
    Image.new("L", (16320, 12240)).save(path)
    with Image.open(path) as opened:
        images._check_size(opened, path)
    path.write_bytes(png(16320, 12240))  # a size that so few bytes cannot hold
    with pytest.raises(UnreadableImage, match="megapixels"):
        read_image(path)


@pytest.mark.parametrize(
    ("name", "options", "levels"),
    [
        *(
            ("a.jp2", {"irreversible": False}, 0),
            ("a.j2k", {}, 0),
            ("a.pgm", {}, 0),
            ("a.pnm", {}, 0),
            ("a.gif", {}, 0),
        ),
        *(("a.apng", {"format": "PNG"}, 0), ("a.dib", {}, 0), ("a.mpo", {"quality": 98}, 6)),
    ],
)
def test_more_formats(tmp_path, colours, name, options, levels):
    assert name[name.index(".") :] in images.PICTURES
    grey = colours[..., 0]
    Image.fromarray(grey).save(tmp_path / name, **options)
    close(read_image(tmp_path / name), np.repeat(grey[..., None], 3, 2), levels)


@pytest.mark.skipif("AVIF" not in Image.OPEN, reason="this Pillow reads no AVIF")
def test_avif(tmp_path, colours):
    Image.fromarray(colours).save(tmp_path / "a.avif", quality=98)
    close(read_image(tmp_path / "a.avif"), colours, 12)


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_white_of_cameras_of_fewer_bits(tmp_path, colours, bits, suffix, channels):
    white = 2**bits - 1
    wanted = colours if channels == 3 else np.repeat(colours[..., :1], 3, 2)
    deep = np.rint(wanted[..., :channels].astype(float) * white / 255).astype(np.uint16)
    path = tmp_path / f"a.{suffix}"
    assert cv2.imwrite(str(path), deep[..., ::-1])
    close(read_image(path, white), wanted, 1)
    assert read_image(path).max() <= 255 * (white + 256) / 65535
    assert images.levels_of(path) == (deep.max(), False)
    assert read_image(path, white // 2).max() == 255  # and brighter ones are white too


def test_the_white_of_eight_bits_is_their_own(tmp_path, colours):
    Image.fromarray(colours).save(tmp_path / "a.png")
    close(read_image(tmp_path / "a.png", 4095), colours, 0)
    assert images.levels_of(tmp_path / "a.png") is None
    Image.fromarray(colours[..., 0].astype(np.uint16) * 257).save(tmp_path / "b.png")
    assert images.levels_of(tmp_path / "b.png").scaled
    (tmp_path / "c.png").write_bytes(b"no picture")
    assert images.levels_of_all(tmp_path / name for name in ("a.png", "b.png", "c.png", "none.png")) == [
        images.levels_of(tmp_path / "b.png")
    ]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_colours_of_sixteen_bits(tmp_path, colours, orientation):
    assert cv2.imwrite(str(tmp_path / "a.png"), colours[..., ::-1].astype(np.uint16) * 16)
    exif = Image.Exif()
    exif[0x0112] = orientation
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(block)) + b"eXIf" + block + struct.pack(">I", zlib.crc32(b"eXIf" + block))
    data = (tmp_path / "a.png").read_bytes()
    at = data.index(b"IDAT") - 4
    (tmp_path / "a.png").write_bytes(data[:at] + chunk + data[at:])
    Image.fromarray(colours).save(tmp_path / "b.png", exif=exif)
    close(read_image(tmp_path / "a.png", 255 * 16), read_image(tmp_path / "b.png"), 0)


def test_several_pictures_in_a_file(tmp_path, colours):
    first, second = Image.fromarray(colours), Image.fromarray(colours[::-1])
    for name in ("a.gif", "a.tif", "a.webp", "a.png"):
        first.save(tmp_path / name, save_all=True, append_images=[second])
        assert images.pictures_in(tmp_path / name) == 2
    first.save(tmp_path / "b.png")
    assert images.pictures_in(tmp_path / "b.png") == images.pictures_in(tmp_path / "none.png") == 1


def test_a_pgm_that_names_its_white_keeps_it(tmp_path):
    deep = (np.arange(24 * 32) * 5).reshape(24, 32).astype(">u2")
    for white in (4095, 65535):
        (tmp_path / f"{white}.pgm").write_bytes(b"P5\n32 24\n%d\n" % white + deep.tobytes())
    wanted = np.repeat(np.rint(deep.astype(float) * 255 / 4095)[..., None], 3, 2)
    for white in (None, 4095):
        close(read_image(tmp_path / "4095.pgm", white), wanted, 1)
    close(read_image(tmp_path / "65535.pgm", 4095), wanted, 1)
    assert images.levels_of(tmp_path / "4095.pgm") is None
    assert images.levels_of(tmp_path / "65535.pgm").highest == deep.max()
