"""A network between the given one and the adapted one: of their weights and batch statistics
    given + share * (adapted - given).

Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022: of networks of which one was trained on from the
other, what lies between them in weights is a good network too, and often better on data that neither was trained on.
"""

from __future__ import annotations

from copy import deepcopy

import torch

from ..models.pose_model import PoseModel


@torch.no_grad()
def mixed(given: PoseModel, adapted: PoseModel, share: float) -> PoseModel:
    """A new network: `share` of the way from `given` (0) to `adapted` (1), both of which stay as they are. Counters are
    those of `adapted`; adapters are merged into the weights, for what they add up to is no mixture of their parts.

    Raises ValueError where the two are not of one form.
    """
    mixture = deepcopy(adapted).merged()
    start, end = given.merged().state_dict(), mixture.state_dict()
    shapes = [{name: tuple(value.shape) for name, value in state.items()} for state in (start, end)]
    if shapes[0] != shapes[1]:
        name = next(name for name in start | end if shapes[0].get(name) != shapes[1].get(name))
        raise ValueError(
            f"the given and the adapted network differ in {name}: {shapes[0].get(name)} and {shapes[1].get(name)}, so "
            "that no mixture of them is a network; ship the adapted one whole"
        )
    floating = {name for name, value in end.items() if value.is_floating_point()}
    mixture.load_state_dict({n: torch.lerp(start[n], end[n], share) if n in floating else end[n] for n in end})
    return mixture
