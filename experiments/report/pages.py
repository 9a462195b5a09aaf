"""The templates of the pages that keyshift writes: head.html is what they share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jinja2


def template(name: str, **filters: Callable[..., object]) -> jinja2.Template:
    """The template of that file beside this one. What a page does not know is an error, and text is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent, encoding="utf-8"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    environment.filters.update(filters)
    return environment.get_template(name)
