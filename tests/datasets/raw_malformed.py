"""Malformed annotation files: one thing in their structure, their text or their bytes is changed at random."""

import importlib.util
import re
import sys
import warnings
from copy import deepcopy
from pathlib import Path

import numpy as np

_spec = importlib.util.spec_from_file_location("raw_pictures", Path(__file__).with_name("raw_pictures.py"))
raw = importlib.util.module_from_spec(_spec)
sys.modules["raw_pictures"] = raw
_spec.loader.exec_module(raw)


def nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


PLAIN = (
    *(None, True, False, 0, -1, 3, 0.5, 10**9, 10**15, 2**63, -(2**63), 10**30, 10**400, 1e300, -1e300, 5e-324),
    *(float("nan"), float("inf"), -float("inf"), "", "7", "nan", "1e5", "left", "x" * 5000, "\ud800", "\u202e", "\0"),
    *([], {}, [[]], [[], [1]], [None], [True], [1, [2]], [{}], {"": 1}, {"0": [1]}, [0] * 1000, ["0"] * 42),
    *(nested(3), nested(40), nested(200)),
)
ARRAYS = (
    *(np.zeros(0), np.zeros((0, 3)), np.array(np.nan), np.full((21, 3), np.inf), np.zeros((42, 3), bool)),
    *(np.zeros((3, 3), complex), np.full((3, 3), "7"), np.zeros((3, 3), np.uint8), np.full((2, 24, 2), 1e300)),
)
TOKENS = ("1e400", "-1e400", "9" * 5000, "[" * 100_000, "NaN", "-0", "1_0", "0x1", "01", "'a'", "\\ud800", "// no", "")
"""Written into a JSON as they stand."""
NAMES = (
    *("../secret.png", "../../secret.png", "a/../../secret.png", "./../secret.png", "..\\secret.png", "..", ".", "/"),
    *("/etc/passwd", "/proc/self/environ", "//host/secret.png", "C:\\secret.png", "C:secret.png", "~/secret.png", "~"),
    *("%2e%2e/secret.png", "..%2fsecret.png", "%2e%2e%2fsecret.png", "file:///etc/passwd", "http://localhost/a.png"),
    *("a\0.png", "\0", "a\n.png", " ", "\ud800.jpg", "x" * 300 + ".jpg", "x/" * 400, "é" * 200, "ä.jpg", "con", "nul"),
    *("0.jpg/0.jpg", "0.jpg/", "a.mp4#1", "../secret.mp4#0", "0.jpg#1", "a.mp4#" + "9" * 500, "a.avi#-1", "#"),
    *("a.mp4#", "a.mp4#1#2"),
    *("https://localhost/a.mp4#0", "concat:a|b.mp4#0", "$HOME/secret.png", "*.jpg", "[0-9].jpg", "|cat", "-"),
)


def is_name(value):
    return isinstance(value, str) and bool(re.search(r"\.(jpg|png|mp4)", value))


def spot(value, rng):
    """A mapping, list or array of objects in `value`, and a key of it, found by walking down at random."""
    while True:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = rng.choice(keys)
        child = value[key]
        if isinstance(child, dict | list) and len(child) and rng.random() < 0.8:
            value = child
        else:
            return value, key


def mutated(content, rng, secret):
    """`content` with one thing in it changed, and what was done."""
    held = [deepcopy(content)]
    holder, key = spot(held, rng)
    old, ways = holder[key], ["replace"] * 4 + ["drop", "twice", "swap"]
    ways += ["damage"] * 6 * isinstance(old, np.ndarray) + ["name"] * 6 * is_name(old)
    way = rng.choice(ways)
    if way == "drop":
        del holder[key]
    elif way == "twice":
        twice(holder, key, rng)
    elif way == "swap":
        other, place = spot(held, rng)
        holder[key] = deepcopy(other[place])
    elif way == "name":
        holder[key] = rng.choice((*NAMES, secret, f"{Path(secret).parent.name}/../{Path(secret).name}"))
    else:
        holder[key] = damaged(old, rng) if way == "damage" else rng.choice((*PLAIN, *PLAIN, *ARRAYS, f"@{TOKENS[0]}@"))
        if rng.random() < 0.1:
            holder[key] = f"@{rng.choice(TOKENS)}@"
    return (held[0] if held else None), f"{way} at {str(key)[:40]!r}"


def twice(holder, key, rng):
    if isinstance(holder, list):
        holder.insert(rng.randrange(len(holder) + 1), deepcopy(holder[key]))
    else:
        holder[rng.choice((*holder, "", "-1", "1e3", 10**30, -1, None, True, 2.5, "0" * 40, "\ud800"))] = holder[key]


def damaged(array, rng):
    """An array with other numbers, another shape or of another kind."""
    made, harm = array.copy(), rng.randrange(8)
    if harm < 3 and made.size and made.dtype.kind == "f":
        made.flat[rng.randrange(made.size)] = rng.choice((np.nan, np.inf, -1e9, 3e38, -1.0, 0.0, 7.5))
    elif harm < 3 and made.size and made.dtype.kind == "O":
        made.flat[rng.randrange(made.size)] = rng.choice((*ARRAYS, "text", None))
    elif harm < 3 and made.size and made.dtype.kind == "U":
        made.flat[rng.randrange(made.size)] = rng.choice(NAMES)
    elif harm == 3:
        return made[: rng.randrange(len(made))] if made.ndim else made
    elif harm == 4:
        return rng.choice((made.ravel(), made[None], made.T, made[..., None], made.reshape(-1, 1)))
    elif harm == 5:
        return np.concatenate([made, made]) if made.ndim else made
    elif harm == 6 and made.dtype.kind in "fiu":
        return made.astype(rng.choice((bool, complex, "U8", object, np.uint8, np.float16, ">f4", "m8[s]")))
    with np.errstate(all="ignore"):
        return made * rng.choice((np.nan, 1e300, -1, 0, 1e-300)) if made.dtype.kind == "f" else made[::-1]


def spelled(form, encoded, rng):
    """The bytes with what a writer would not write: tokens as they stand, and keys that come again."""
    if form != "json":
        return encoded
    text = re.sub(r'"@(.*?)@"', lambda match: match[1].replace("\\\\", "\\"), encoded.decode())
    keys = list(re.finditer(r'"\w+": ', text))
    if keys and rng.random() < 0.15:
        place = rng.choice(keys).start()
        again = f"{rng.choice(keys)[0]}{rng.choice(('null', '[]', '{}', '-1', '1e999', 'true'))}, "
        text = text[:place] + again + text[place:]
    return text.encode("utf-8", "surrogatepass")


def worded(lines, rng, secret):
    """Lines of a text with a word, a name or a line changed."""
    lines = list(lines)
    at, way = rng.randrange(len(lines)), rng.randrange(6)
    if way == 0:
        lines[at : at + 1] = rng.choice(([], [lines[at]] * 2, [""], ["\0"], [lines[at] * 2], ['"'], ["x" * 200_000]))
        return lines
    words = re.split(r"([,\s]+)", lines[at])
    plain = (str(value) for value in PLAIN if isinstance(value, str | float | int | None) and value != 10**400)
    choices = (*NAMES, secret) if is_name(words[0]) and way < 4 else (*plain, "9" * 5000, "1e999", "\ud800", '"')
    words[0 if choices[: len(NAMES)] == NAMES else rng.randrange(0, len(words), 2)] = rng.choice(choices)
    lines[at] = "".join(words)
    return lines


def garbled(data, rng):
    """Bytes truncated, flipped, cut, filled in, or of another encoding."""
    at, end = sorted((rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)))
    near = data[:at] + bytes(rng.randrange(256) for _ in range(rng.randrange(1, 20))) + data[at:]
    flipped = bytearray(data)
    for _ in range(rng.choice((1, 1, 4, 50))):
        flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    made = [data[:at], data[:-1], data[:at] + data[end:], near, bytes(flipped), bytes(flipped), bytes(flipped)]
    made += [
        b"",
        b"\0" * 5000,
        b"\n" * 5000,
        rng.randbytes(3000),
        data + data,
        data + b"\0",
        data + b"]",
        b"\xff" + data,
    ]
    text = data.decode("latin-1")
    made += [b"\xef\xbb\xbf" + data, text.encode("utf-16"), text.encode("utf-16-be"), text.encode("utf-32")]
    made += [data.replace(b"a", b"\xe9", 3), data.replace(b"0", b"\xed\xa0\x80", 1), data.replace(b",", b";")]
    return rng.choice(made)


def change(made, root, name, rng):
    """One of the set's files malformed in its place. Returns what was done."""
    file, form = root / name, made.files[name]
    if form == "bytes" or rng.random() < 0.3:
        file.write_bytes(garbled(file.read_bytes(), rng))
        return "bytes"
    content = (made.content or {}).get(name) or raw.decode(form, file)
    secret = str(root.parent / "secret.png")
    for _ in range(20):
        try:
            if form == "text":
                spoiled, done = worded(content, rng, secret), "a line"
            else:
                spoiled, done = mutated(content, rng, secret)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                file.write_bytes(spelled(form, raw.encode(form, spoiled), rng))
            return done
        except Exception:  # the writer refuses what the form cannot hold
            continue
    raise AssertionError(f"nothing malformed to write as {form}")
