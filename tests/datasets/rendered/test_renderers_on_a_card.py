"""Each renderer on a card: the pictures and labels of the CPU. A GPU may round otherwise at edges, in a few pixels."""

from dataclasses import is_dataclass

import numpy as np
import pytest
import torch

from keyshift.datasets.rendered import hands, people, raycast
from keyshift.datasets.rendered.depth import SENSORS, SUBJECTS, render_depth

FILM = {"video": 2, "smeared": 0.5}
HANDS = hands.Options(**FILM).moving
PEOPLE = people.Options(size=64, scenes=2, **FILM)


def arrays(made):
    """What a renderer made, as arrays by name."""
    if isinstance(made, list):
        return {f"{number}.{name}": value for number, one in enumerate(made) for name, value in arrays(one).items()}
    named = {name: getattr(made, name) for name in made.__dataclass_fields__} if is_dataclass(made) else made
    return {name: torch.as_tensor(value).cpu().numpy() for name, value in named.items() if name != "gesture"}


RENDERERS = {
    **{f"hands, {s}": lambda d, s=s: hands.render(s, 0, range(3), 32, d) for s in hands.STYLES if s != "photo"},
    "hands, video": lambda d: hands.render_video("webcam", 0, 0, HANDS, 32, hands=(2, 2), device=d),
    **{f"depth of {what}": lambda d, what=what: render_depth(what, "ideal", 0, range(3), 32, d) for what in SUBJECTS},
    **{f"depth, {s}": lambda d, s=s: render_depth("hands", s, 0, range(2), 32, d) for s in SENSORS},
    **{f"people, {s}": lambda d, s=s: people.render_scene(s, PEOPLE, 0, d) for s in people.STYLES},
    "people, video": lambda d: people.render_video("lab", PEOPLE, 0, d),
}


@pytest.mark.parametrize("name", RENDERERS)
def test_the_same_pictures(card, name):
    given, wanted = (arrays(RENDERERS[name](device)) for device in (card.device, torch.device("cpu")))
    assert given.keys() == wanted.keys()
    for part, value in wanted.items():
        away = np.abs(given[part].astype(np.float64) - value.astype(np.float64))
        assert (away > 1e-3 * np.abs(value).max()).mean() <= (0.0 if card.same_draws else 0.02), part


def test_a_gpu_takes_as_much_at_once_as_it_has_room_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (8_000_000, 9_000_000))
    assert raycast.at_once(torch.device("cuda"), 1000, 24) == 1000
    assert raycast.at_once(torch.device("cuda"), 10**6, 24) == 24
    assert raycast.at_once(torch.device("cpu"), 1000, 24) == 24
