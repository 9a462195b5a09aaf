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

    def missing(self, name: str) -> ValueError:
        """The error of a set that is not there: what to download, from whom, to where, and what prepares it."""
        got = (
            f"get it with: keyshift data prepare {name} root=FOLDER"
            if self.downloads
            else f"download it there by hand, then: keyshift data prepare {name} root=FOLDER"
        )
        return ValueError(
            f"{name} needs root=FOLDER with {self.title}; licence: {self.licence}; from {self.home}; {got}. "
            f"Expected below the root: {self.layout}"
        )
