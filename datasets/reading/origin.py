"""Where a public dataset comes from: who publishes it, under which licence, and how it lies on disk."""

from __future__ import annotations

from dataclasses import dataclass


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
        found = f"there is no {root}" if root else f"{name} needs root=FOLDER"
        how = "downloads and prepares it" if self.downloads else "prepares it once it lies there"
        return MissingData(
            f"{found}. {name} is {self.title}; licence: {self.licence}. Get it from {self.home} into {place}, as "
            f"{self.layout}; this {how}: keyshift data prepare {name} root={place}{options}".rstrip()
        )
