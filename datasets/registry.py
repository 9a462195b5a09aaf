"""What is chosen by name: each thing is imported from its file when it is first asked for, so that who uses one system
does not wait for all of them."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Mapping
from importlib import import_module
from typing import TypeVar

Thing = TypeVar("Thing")


class Registry(UserDict[str, Thing]):
    """Things by name. `places` says where each is, "folder.file:Thing" from the folder of the module `beside`."""

    def __init__(self, beside: str, places: Mapping[str, str]) -> None:
        super().__init__()
        package = beside.rpartition(".")[0]
        self.places = {name: f"{package}.{place}" for name, place in places.items()}
        self.data = dict.fromkeys(places)  # type: ignore[assignment]  # None until it is asked for

    def __getitem__(self, name: str) -> Thing:
        if self.data[name] is None:
            file, _, thing = self.places[name].partition(":")
            self.data[name] = getattr(import_module(file), thing)
        return self.data[name]

    def name_of(self, kind: type) -> str:
        """The name of a class that is among them. Raises KeyError for another."""
        place = f"{kind.__module__}:{kind.__qualname__}"
        for name, entry in self.data.items():
            if entry is kind or (entry is None and self.places[name] == place):
                return name
        raise KeyError(kind)
