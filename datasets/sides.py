"""Sides in the names of keypoints: which two change places in a mirrored picture.

Two names are a pair where one becomes the other when its sides change places: words (`leftear`, `front_left_paw`,
`Nearfrontfoot`), letters that stand alone (`thigh.L.001`, `forelegL1`), codes of two letters (`paw2LF`, `tl`), letters
glued to a word (`LASI`, `lhip`). The whole set of names decides. The other name must be there; glued letters need more
than that, because `lump` and `rump` are no pair: a word of the body beside them, or the same habit in several names.
Of a name that has several partners nothing is taken.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

WORDS = (
    *(("left", "right"), ("near", "off"), ("link", "recht"), ("gauche", "droite"), ("gauche", "droit")),
    *(("izquierda", "derecha"), ("izquierdo", "derecho"), ("sinistra", "destra"), ("sinistro", "destro")),
    *(("esquerda", "direita"), ("esquerdo", "direito"), ("lft", "rgt"), ("lft", "rt"), ("lt", "rt"), ("lf", "rt")),
    *(("sx", "dx"), ("izq", "der"), ("左", "右"), ("왼", "오른"), ("port", "starboard"), ("vänster", "höger")),
    *(
        ("venstre", "højre"),
        ("venstre", "høyre"),
        ("lewe", "prawe"),
        ("lewa", "prawa"),
        ("lewy", "prawy"),
        ("лев", "прав"),
        ("лів", "прав"),
    ),
    *(("sol", "sag"), ("يسار", "يمين"), ("يسرى", "يمنى"), ("trái", "phải"), ("kiri", "kanan")),
)
"""Near and off are a horse's left and right; link and recht stand for all German endings."""
_ENGLISH = re.compile(r"cleft|leftover|upright|[bfw]right|copyright|outright|forthright|alright|righteous")
_TOKEN = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_]+")
"""A word within a name; camel case and digits part words."""
_PARTS = re.findall(
    r"\w+",
    "eye ear nose brow cheek mouth lip jaw chin head neck shou sho elb arm hand wri finger thumb index middle ring "
    "little pinky palm chest hip waist thi leg calf shin kne ank foot feet heel hee toe paw hoof claw wing tail "
    "antenna horn antler fore hind front back inner outer upper lower mid top bottom tip base flipper fin pelvis asi "
    "psi tib fem hum rad uln collar clav scap rib breast sleeve cuff hem pocket stifle hock fetlock tarsus carpus "
    "corner fhd bhd upa frm ",
)
"""Words of bodies and clothes, and codes of motion capture, that a glued letter may stand beside."""
_BESIDE = frozenset("fhbtmulr")
"""The other letter of a code of two: front, hind, back, top, middle, upper, lower (then again l), rear."""
_ALPHABET = frozenset("jknopqs")
"""Letters that are no top, middle or side of anything: beside two of them l and r are numbers, too."""
_UNNAMED = re.compile(
    r"\d+|(?:.*[\W_])?(?:p|pt|point|kp|kpt|keypoint|lm|landmark|joint|j|marker|m|node|part|bodypart|face|id)[\W_]*\d+"
)


class Sides(NamedTuple):
    """What names tell, by their places."""

    pairs: tuple[tuple[int, int], ...]
    """(left, right), in the order of the left ones."""
    single: tuple[int, ...]
    """Names that tell a side and have no partner, or several."""
    alike: tuple[tuple[int, int], ...]
    """Names that differ by an l and an r alone, without another sign that these are sides."""


class _Edit(NamedTuple):
    """A side within a name: the span, what stands there in the mirrored name, and in which word at which letter."""

    start: int
    end: int
    new: str
    left: bool
    word: str = ""
    at: int = 0

    @property
    def rest(self) -> str:
        return (self.word[: self.at] + self.word[self.at + 1 :]).lower()


_Kind = Callable[[str], list[_Edit]]


class _Match(NamedTuple):
    left: int
    right: int
    edit: _Edit
    """In the left one's name."""


def sides(names: Sequence[str]) -> Sides:
    """The sides that different `names` tell, spelled as where they come from or in our vocabulary."""
    free, unsure, pairs = set(range(len(names))), set[int](), list[_Match]()
    alike: list[_Match] = []
    words = [(_word(*pair), whole) for pair in WORDS for whole in (True, False)]
    ways: list[tuple[_Kind, bool]] = [(_words_and_letters, True), *words, (_letters, True), (_letters, False)]
    rows = lettered(names, all)
    for kind, whole in [*ways, (_codes, False), *((glued, False) for glued in _GLUED)]:
        matches, several = _matches(names, free - unsure - (rows if kind is _letters else set()), kind, whole)
        taken = [match for match in matches if _evident(names, kind, match, matches)]
        alike += [match for match in matches if match not in taken]
        pairs, unsure = pairs + taken, unsure | several
        free -= {k for match in taken for k in (match.left, match.right)}
    single = (unsure & free) | {k for k in free if _looks_sided(names[k], pairs, names, k in rows)}
    alike = [match for match in alike if {match.left, match.right} <= free - single]
    return Sides(_places(pairs), tuple(sorted(single)), _places(alike))


Pairs = tuple[tuple[int, int], ...]


def completed(names: Sequence[str], pairs: Sequence[Sequence[int]]) -> tuple[Pairs, tuple[int, ...]]:
    """Flip pairs and the names without a partner, of a skeleton that was written before the latter were: `pairs`, or
    all that the names tell where that is more of the same."""
    by_name, given = sides(names), {frozenset(pair) for pair in pairs}
    if given <= {frozenset(pair) for pair in by_name.pairs}:
        return by_name.pairs, by_name.single
    lone = {*by_name.single, *(k for pair in by_name.pairs for k in pair)}.difference(*given)
    return tuple((pair[0], pair[1]) for pair in pairs), tuple(sorted(lone))


def lettered(names: Sequence[str], judge: Callable[[Iterable[bool]], bool] = any) -> set[int]:
    """The places of names in which a lone l or r is no side, but one of a row of letters (p_a to p_s; lip_u, lip_l);
    with `all`, each of them in the name."""
    folded = [name.casefold() for name in names]
    lone = {k: [_in_row(folded[k], edit, folded) for edit in _letters(name)] for k, name in enumerate(names)}
    return {k for k, rows in lone.items() if rows and judge(rows)}


def _in_row(name: str, edit: _Edit, names: Sequence[str]) -> bool:
    start, end = name[: edit.start], name[edit.end :]
    letters = {one[edit.start] for one in names if len(one) == len(name) and one == start + one[edit.start] + end}
    return len(letters & _ALPHABET) > 1 or (len(letters) > 1 and not letters >= {"l", "r"})


def unnamed(names: Sequence[str]) -> list[str]:
    """The names that are numbers alone, where there are more than two: nobody can tell the sides of these."""
    listed = [name for name in names if _UNNAMED.fullmatch(name.lower())]
    return listed if len(listed) > 2 else []


def _places(matches: list[_Match]) -> tuple[tuple[int, int], ...]:
    return tuple(sorted((match.left, match.right) for match in matches))


# What changes places in a name


def _word(left: str, right: str) -> _Kind:
    """Long words stand anywhere, short ones alone; near and off begin a word."""
    opposite = {left: right, right: left}
    pattern = re.compile(f"{left}|{right}", re.IGNORECASE)
    short = left.isascii() and min(len(left), len(right)) < 4

    def edits(name: str) -> list[_Edit]:
        tokens = [match.span() for match in _TOKEN.finditer(name)]
        begins = {start for start, _ in tokens} if left == "near" else set()
        return [
            _Edit(*match.span(), _like(match[0], opposite[match[0].lower()]), match[0].lower() == left)
            for match in pattern.finditer(name)
            if not short or match.span() in tokens or match.start() in begins
        ]

    return edits


def _letters(name: str) -> list[_Edit]:
    """L and R that stand alone."""
    return [edit for match in _TOKEN.finditer(name) if len(match[0]) == 1 for edit in _within(match, (0,))]


def _words_and_letters(name: str) -> list[_Edit]:
    words = _word(*WORDS[0])(name)
    return words + _letters(name) if words else []


def _codes(name: str) -> list[_Edit]:
    """L and R in words of two letters."""
    return [edit for match in _TOKEN.finditer(name) if len(match[0]) == 2 for edit in _within(match, (0, 1))]


def _begun(name: str) -> list[_Edit]:
    """L and R that begin a longer word."""
    return [edit for match in _TOKEN.finditer(name) if len(match[0]) > 2 for edit in _within(match, (0,))]


def _ended(name: str) -> list[_Edit]:
    """L and R that end a longer word."""
    return [edit for m in _TOKEN.finditer(name) if len(m[0]) > 2 for edit in _within(m, (len(m[0]) - 1,))]


def _amid(name: str) -> list[_Edit]:
    """L and R in the middle of three capitals."""
    return [e for m in _TOKEN.finditer(name) if len(m[0]) == 3 and m[0].isupper() for e in _within(m, (1,))]


_GLUED = (_begun, _ended, _amid)


def _within(match: re.Match[str], places: Sequence[int]) -> list[_Edit]:
    word, start, letters = match[0], match.start(), {"l": "r", "r": "l"}
    return [
        _Edit(start + at, start + at + 1, _like(word[at], letters[word[at].lower()]), word[at] in "lL", word, at)
        for at in places
        if word[at] in "lrLR"
    ]


def _like(old: str, new: str) -> str:
    """`new` in the case of `old`."""
    return new.upper() if old.isupper() else new.capitalize() if old[0].isupper() else new


def _edited(name: str, edits: Sequence[_Edit]) -> str:
    for edit in sorted(edits, reverse=True):
        name = name[: edit.start] + edit.new + name[edit.end :]
    return name


# Which names are each other's


def _matches(names: Sequence[str], free: set[int], kind: _Kind, whole: bool) -> tuple[list[_Match], set[int]]:
    """Pairs among `free`, all sides of a name changed at once (`whole`) or one of them; and those with several."""
    forms: list[Callable[[str], str]] = [str, str.casefold, lambda name: re.sub(r"[\s_.-]", "", name).casefold()]
    if kind is _codes:  # paw1LH and paw4RH: a number that counts all of them is no part of what they are
        forms.append(lambda name: re.sub(r"\d+", "", name).casefold())
    spelled: list[dict[str, set[int]]] = [defaultdict(set) for _ in forms]
    for k in free:
        for form, places in zip(forms, spelled, strict=True):
            places[form(names[k])].add(k)
    partners: dict[int, dict[int, _Edit]] = {}
    for k in free:
        edits, partners[k] = kind(names[k]), {}
        for option in [edits] if whole and edits else [[edit] for edit in edits]:
            wanted = _edited(names[k], option)
            hits = (places.get(form(wanted), set()) - {k} for form, places in zip(forms, spelled, strict=True))
            partners[k] |= dict.fromkeys(next(filter(None, hits), ()), option[0])
    matches = [
        _Match(k, other, edit)
        for k, options in partners.items()
        for other, edit in options.items()
        if edit.left and len(options) == 1 and list(partners[other]) == [k]
    ]
    return matches, {k for k, options in partners.items() if len(options) > 1}


# What speaks for sides


def _evident(names: Sequence[str], kind: _Kind, match: _Match, matches: list[_Match]) -> bool:
    """Whether a match is a pair, seen beside the others of its kind."""
    rest = match.edit.rest
    if kind is _codes:
        return rest in _BESIDE or sum(one.edit.rest not in _BESIDE for one in matches) > 1
    return kind not in _GLUED or _of_body(rest) or _habit(names, kind, match.edit.word.isupper(), matches)


def _of_body(rest: str) -> bool:
    return any(rest.startswith(part) or rest.endswith(part) for part in _PARTS)


def _habit(names: Sequence[str], kind: _Kind, upper: bool, matches: list[_Match]) -> bool:
    """Whether several pairs are spelled in this way, and nearly all names that could be. In small letters one of them
    is of the body: lock and rock, lip and rip are as many words."""
    habit = [match for match in matches if match.edit.word.isupper() == upper]
    could = sum(any(edit.word.isupper() == upper for edit in kind(name)) for name in names)
    enough = len(habit) > 1 if upper else len(habit) > 2 and any(_of_body(match.edit.rest) for match in habit)
    return enough and 2 * len(habit) >= 0.8 * could


def _looks_sided(name: str, pairs: list[_Match], names: Sequence[str], row: bool) -> bool:
    """Whether a name without a partner tells a side: by left or right, else as pairs of the set do."""
    if re.search("left|right", _ENGLISH.sub("", name.casefold())):
        return True
    paired = [names[match.left] for match in pairs]
    if any(word(name) and any(map(word, paired)) for word in (_word(*pair) for pair in WORDS[1:])):
        return True
    for edit in [] if row or len(name) == 1 else _letters(name):
        counted = any(letter.isdigit() for letter in name[max(edit.start - 1, 0) : edit.end + 1])
        if not counted or any(map(_letters, paired)):
            return True
    if any(edit.word.isupper() and edit.rest in "fh" for edit in _codes(name)):  # LF, RH: of a fore or hind leg
        return True
    codes = {match.edit.rest for match in pairs if len(match.edit.word) == 2}
    if codes and any(edit.rest in codes | _BESIDE for edit in _codes(name)):
        return True
    return any(_as_glued(edit, kind, names, pairs) for kind in _GLUED for edit in kind(name))


def _as_glued(edit: _Edit, kind: _Kind, names: Sequence[str], pairs: list[_Match]) -> bool:
    """Whether two pairs are spelled in this way, and what stands beside the letter is a code or a word of the body."""
    others = [match.edit for match in pairs if match.edit in kind(names[match.left])]
    alike = sum(other.word.isupper() == edit.word.isupper() for other in others)
    return alike > 1 and (edit.word.isupper() or (edit.rest in _PARTS and edit.rest != "ear"))
