import numpy as np
import pytest
from PIL import Image

from keyshift.datasets.depth.center import UnusableDepth
from keyshift.datasets.depth.frame_file import read_depth

MM = (600 + np.arange(12).reshape(3, 4) * 40).astype(np.uint16)
MM.setflags(write=False)


def pgm(path, levels=MM, highest=65535, order=">u2"):
    path.write_bytes(b"P5\n# a camera's\n4 3\n%d\n" % highest + levels.astype(order).tobytes())
    return path


@pytest.mark.parametrize("kind", ["u2", ">u2", "i2", "i4", ">i4", "u4", "i8", "u8", "f2", "<f4", ">f4", "f8"])
def test_arrays_of_every_number(tmp_path, kind):
    np.save(tmp_path / "a.npy", MM.astype(kind))
    depth = read_depth(tmp_path / "a.npy")
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth, MM, rtol=5e-4)


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 1), (1, 3, 4), (1, 3, 4, 1), (1, 1, 3, 4)])
def test_axes_of_one(tmp_path, shape):
    np.save(tmp_path / "a.npy", MM.reshape(shape))
    np.testing.assert_array_equal(read_depth(tmp_path / "a.npy"), MM)


@pytest.mark.parametrize(
    ("kind", "none"),
    [
        *(("f4", value) for value in (np.nan, np.inf, -np.inf, -1, -9999, 1e10, 3.4e38, 0)),
        *((kind, -1) for kind in ("i2", "i4", "i8", "f2")),
        *((kind, 65535) for kind in ("u2", "i4", "f4")),
        ("i2", 32767),
        ("i4", 2**31 - 1),
        ("u4", 2**32 - 1),
    ],
)
def test_what_sensors_write_for_nothing(tmp_path, kind, none):
    stored = MM.astype(kind)
    stored[0] = none
    np.save(tmp_path / "a.npy", stored)
    depth = read_depth(tmp_path / "a.npy")
    assert (depth[0] == 0).all()
    np.testing.assert_allclose(depth[1:], MM[1:], rtol=5e-4)


@pytest.mark.parametrize(
    ("stored", "match"),
    [
        (-MM.astype(np.float32), "down to -1040; they must be positive .* write them negated"),
        (np.where(MM > 700, MM, -MM.astype(np.int32)), "down to -680; .* one number for nothing at most"),
        (
            np.where(MM > 700, MM + 40000, MM).astype(np.uint16).view(np.int16),
            "numbers above 32767 in 16 bit with a sign",
        ),
        (np.full((3, 4), 65535, np.uint16), "no pixel has a depth, all 12"),
        (np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4), "Or is this depth from 0 to 1, whose unit is lost"),
        (MM.astype(np.uint8), r"8-bit numbers \(uint8\) found.* Export raw depth"),
        (MM.astype(complex), "found .* of complex128"),
    ],
)
def test_arrays_that_are_no_depth(tmp_path, stored, match):
    np.save(tmp_path / "a.npy", stored)
    with pytest.raises(UnusableDepth, match=rf"a\.npy.*{match}"):
        read_depth(tmp_path / "a.npy")


@pytest.mark.parametrize("kind", ["u2", "i4", "f4"])
@pytest.mark.parametrize("suffix", [".tif", ".TIFF"])
def test_tiff(tmp_path, kind, suffix):
    Image.fromarray(MM.astype(kind)).save(tmp_path / f"a{suffix}", "TIFF")
    np.testing.assert_array_equal(read_depth(tmp_path / f"a{suffix}"), MM)


def test_tiff_of_doubles_and_of_metres(tmp_path):
    cv2 = pytest.importorskip("cv2")
    assert cv2.imwrite(str(tmp_path / "a.tif"), MM / 1000)
    np.testing.assert_allclose(read_depth(tmp_path / "a.tif", 1000.0), MM, rtol=1e-6)


@pytest.mark.parametrize("highest", [4095, 10000, 65535])
def test_pgm_is_not_stretched(tmp_path, highest):
    np.testing.assert_array_equal(read_depth(pgm(tmp_path / "a.pgm", highest=highest)), MM)
    (tmp_path / "b.pgm").write_text(f"P2\n4 3 # width and height\n{highest}\n{' '.join(map(str, MM.ravel()))}\n")
    np.testing.assert_array_equal(read_depth(tmp_path / "b.pgm"), MM)


def test_pgm_in_the_other_byte_order(tmp_path):
    with pytest.raises(
        UnusableDepth, match=r"a\.pgm: levels go up to .* its head says 4095: are its bytes in the other"
    ):
        read_depth(pgm(tmp_path / "a.pgm", highest=4095, order="<u2"))


@pytest.mark.parametrize("suffix", [".npy", ".png", ".pgm"])
def test_bytes_in_the_other_order(tmp_path, suffix):
    slope = (500 + np.add.outer(np.arange(40) * 3, np.arange(60) * 5)).astype(np.uint16)
    path = tmp_path / f"a{suffix}"

    def write(depth):
        if suffix == ".npy":
            np.save(path, depth)
        elif suffix == ".png":
            Image.fromarray(depth).save(path)
        else:
            path.write_bytes(b"P5 60 40 65535\n" + depth.astype(">u2").tobytes())

    write(slope)
    np.testing.assert_array_equal(read_depth(path), slope)
    write(slope.byteswap())
    with pytest.raises(UnusableDepth, match="change smoothly in the other byte order"):
        read_depth(path)
    write(np.where(slope > 700, 512, 1024).astype(np.uint16))  # a drawn scene
    assert set(np.unique(read_depth(path))) == {512, 1024}


@pytest.mark.parametrize(
    "names", [["depth"], ["arr_0"], ["rgb", "depth"], ["Depth", "depth_mask"], ["rgb", "depth_map"]]
)
def test_npz(tmp_path, names):
    np.savez_compressed(tmp_path / "a.npz", **dict.fromkeys(names, MM))
    np.testing.assert_array_equal(read_depth(tmp_path / "a.npz"), MM)


def test_npz_of_several(tmp_path):
    np.savez(tmp_path / "a.npz", left=MM, right=MM)
    with pytest.raises(UnusableDepth, match="it holds left, right; one array, or one that is named depth"):
        read_depth(tmp_path / "a.npz")


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_pictures_for_the_eye_are_refused(tmp_path, mode, suffix):
    Image.fromarray((MM // 8).astype(np.uint8)).convert(mode).save(tmp_path / f"a{suffix}")
    with pytest.raises(UnusableDepth, match=r"8-bit .*lost the mm\. Export raw depth: 16-bit grey PNG"):
        read_depth(tmp_path / f"a{suffix}")


def test_several_pages(tmp_path):
    page = Image.fromarray(MM)
    page.save(tmp_path / "a.tif", save_all=True, append_images=[page])
    with pytest.raises(UnusableDepth, match="holds 2 pages: save each frame as a file of its own"):
        read_depth(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm", ".npy", ".npz"])
@pytest.mark.parametrize("content", [b"", b"nonsense", b"P5 4 3 65535\n12", b"II*\0\x08\0\0\0", b"PK\x03\x04"])
def test_broken_files(tmp_path, suffix, content):
    (tmp_path / f"a{suffix}").write_bytes(content)
    with pytest.raises(UnusableDepth, match=rf"cannot read the depth .*a\{suffix}: .+ Restore, replace or remove"):
        read_depth(tmp_path / f"a{suffix}")


def written(folder):
    """One valid file of each kind."""
    for name, kind in (("a.png", "u2"), ("a.tif", "u2"), ("b.tif", "f4")):
        Image.fromarray(MM.astype(kind)).save(folder / name)
    np.save(folder / "a.npy", MM)
    np.savez_compressed(folder / "a.npz", depth=MM)
    (folder / "b.pgm").write_text(f"P2 4 3 4095 {' '.join(map(str, MM.ravel()))}")
    return [*sorted(folder.iterdir()), pgm(folder / "a.pgm")]


@pytest.mark.filterwarnings("ignore")  # of Pillow, about what it finds in them
def test_files_that_were_changed_at_random(tmp_path):
    rng = np.random.default_rng(0)
    for path in written(tmp_path):
        content = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(40):
            changed = content[: rng.integers(1, len(content) + 1)].copy()
            changed[rng.integers(len(changed), size=3)] = rng.integers(256, size=3)
            path.write_bytes(changed.tobytes())
            try:
                depth = read_depth(path)
            except UnusableDepth:
                continue
            assert depth.dtype == np.float32
            assert depth.ndim == 2
            assert np.isfinite(depth).all()
            assert (depth >= 0).all()
