"""Where a dataset comes from: who publishes it, under which licence, how it lies on disk, and whether it is there."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from ..options import Options, option
from .files import from_home
from .prepared import given, spelled


@dataclass(frozen=True)
class Download:
    """One archive with a public address. Unpacked below the root, into `folder` where it brings none of its own."""

    url: str
    sha256: str | None = None
    """None where the publisher states none: then the sum of the first download is written down and held to."""
    folder: str = "."


class MissingData(ValueError):
    """A public dataset that is not there."""


@dataclass(frozen=True)
class Origin:
    title: str
    """Name, authors, venue."""
    licence: str
    """In a few words; its full text is with the publisher."""
    home: str
    """Where to read about it, accept its licence and get it."""
    layout: str
    """What lies below the root, as the publisher lays it out."""
    downloads: tuple[Download, ...] = ()

    def missing(self, name: str, root: str | None, options: str = "") -> MissingData:
        """The error of a set that is not there: what to download, from whom, to where, and what prepares it with the
        `options` that were asked for."""
        place = root or "FOLDER"
        words = shlex.quote(f"root={place}") + options
        problem = f"there is no {root}" if root else f"{name} needs root=FOLDER"
        service = "downloads and prepares it" if self.downloads else "prepares it once it lies there"
        return MissingData(
            f"{problem}. {name} is {self.title}; licence: {self.licence}. Get it from {self.home} into {place}, as "
            f"{self.layout}; this {service}: keyshift data prepare {name} {words}".rstrip()
        )


@dataclass(frozen=True)
class FolderOptions(Options):
    """Base of the options of all sets that lie on a disk."""

    root: str | None = option(None, "folder of the set, raw or prepared")

    @property
    def folder(self) -> Path:
        """`root` as a path. Raises ValueError where there is none."""
        if self.root is None:
            raise ValueError("root is not set; name the folder that the set lies in")
        return from_home(self.root)

    def check_there(self, name: str, origin: Origin | None) -> None:
        """Raises MissingData, which says where the set `name` is to be had, where it does not lie at `root`."""
        if origin is not None and (self.root is None or not self.folder.exists()):
            raise origin.missing(name, self.root, " " + spelled(given(self)))
