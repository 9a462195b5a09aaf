"""A card that computes on the CPU: a device whose tensors hold real values and mix with none of the CPU's, so that what
would fail or wait on a GPU is seen where there is none.

Within `Card()` it is the device "meta"; torch's own device of that name holds no values, here it does. Mixing fails as
on CUDA, where alone numbers (0 dimensions) of the CPU take part. What makes the host wait for the card, or takes values
from the host onto it and waits with them, is kept in `waits` and `copies` with the place in our code; a GPU's own
kernels are not tried.
"""

import sys
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

CARD = torch.device("meta")
ROOT = Path(__file__).parents[1]
aten = torch.ops.aten
MOVES = (aten._to_copy.default, aten.copy_.default)
LISTS = (aten.cat.default, aten.stack.default)
WAITS = (
    "_local_scalar_dense",
    "nonzero",
    "masked_select",
    "equal.default",
    "unique",
    "_unique",
    "repeat_interleave.Te",
)


class Mixed(AssertionError):
    """Tensors of the card and of the CPU in one operation."""


class OnCard(Tensor):
    """A tensor on the card; `inner` holds its values."""

    @staticmethod
    def __new__(cls, inner):
        form = {"strides": inner.stride(), "storage_offset": inner.storage_offset(), "dtype": inner.dtype}
        made = Tensor._make_wrapper_subclass(cls, inner.shape, device=CARD, **form)
        made.inner = inner
        return made

    def __reduce_ex__(self, protocol):
        """In a file it is a tensor of the CPU, as what `load_checkpoint` gives of a GPU's."""
        return self.inner.__reduce_ex__(protocol)

    def __repr__(self):
        return f"OnCard({self.inner!r})"

    # here, not on Tensor: that would stay a sequence for Python when its own methods are back

    def __getitem__(self, picks):
        return super().__getitem__(on_card(picks))

    def __setitem__(self, picks, value):
        super().__setitem__(on_card(picks), value)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {})

    __torch_function__ = torch._C._disabled_torch_function_impl


def on_card(picks):
    """An index with its lists on the card, which is a copy that the host waits for."""
    if isinstance(picks, tuple):
        return tuple(map(on_card, picks))
    return torch.tensor(picks, device="cpu").to(CARD) if isinstance(picks, list) and picks else picks


class Card(TorchDispatchMode):
    """Within it there is the card; its `waits` and `copies` are lists of places in our code."""

    device = CARD
    same_draws = True
    """As the CPU draws random numbers; a GPU draws others."""

    def __init__(self):
        super().__init__()
        self.waits, self.copies, self.values = [], [], ExitStack()

    def __enter__(self):
        self.values.enter_context(on_devices())
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self.values.close()

    @contextmanager
    def quiet(self):
        """Fails where something within it waits for the card, or copies numbers onto it."""
        waits, copies = len(self.waits), len(self.copies)
        yield
        assert (self.waits[waits:], self.copies[copies:]) == ([], [])

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in MOVES:
            start, end = isinstance(args[-1], OnCard), goes_to_card(func, args, kwargs)
            if start and not end:
                self.waits.append(place(func))
            elif end and not start and not kwargs.get("non_blocking"):
                self.copies.append(place(func))
        elif waits(func, args) and any(isinstance(one, OnCard) for one in args):
            self.waits.append(place(func))
        return compute(func, args, kwargs)


@contextmanager
def on_devices():
    """Within it torch's ways between values of Python and tensors ask the dispatch mode, as they do not by themselves,
    and autocast takes the card for the CPU."""
    make, of = torch.tensor, torch.as_tensor
    autocast, casts = torch.autocast, torch.is_autocast_enabled

    def to_its_device(function, *args, device=None, **kwargs):
        made = function(*args, **kwargs)
        return made if device is None else made.to(device)

    def alike(like, values, dtype=None, device=None, **kwargs):
        return make(values, dtype=dtype or like.dtype, **kwargs).to(device or like.device)

    def without_fused(begin):
        return lambda *args, fused=None, **kwargs: begin(*args, **kwargs)

    def of_cpu(device_type, *args, **kwargs):
        return autocast("cpu" if device_type == CARD.type else device_type, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        for kind in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW):  # their fused kernels know no such device
            patch.setattr(kind, "__init__", without_fused(kind.__init__))
        patch.setattr(torch, "tensor", partial(to_its_device, make))
        patch.setattr(torch, "as_tensor", partial(to_its_device, of))
        patch.setattr(torch, "autocast", of_cpu)
        patch.setattr(
            torch, "is_autocast_enabled", lambda device="cpu": casts("cpu" if device == CARD.type else device)
        )
        patch.setattr(Tensor, "new_tensor", alike)
        patch.setattr(Tensor, "tolist", lambda tensor: tensor.detach().cpu().numpy().tolist())
        yield


def compute(func, args, kwargs):
    """What the operation gives, on the card where it belongs there. Raises Mixed."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    others = [tensor for tensor in tensors if not isinstance(tensor, OnCard)]
    mixed = 0 < len(others) < len(tensors) and func not in MOVES
    if mixed and (func in LISTS or any(tensor.dim() for tensor in others)):
        shapes = [tuple(tensor.shape) for tensor in others]
        raise Mixed(f"{func}: {shapes} of the CPU among tensors of the card, {place(func)}")
    goal = goes_to_card(func, args, kwargs)
    inside, named = tree_map_only(OnCard, lambda tensor: tensor.inner, (args, kwargs))
    if kwargs.get("device") is not None:
        named["device"] = torch.device("cpu")
    answer = func(*inside, **named)
    if func is aten._to_copy.default and any(answer is tensor for tensor in inside):
        answer = answer.clone()
    if not goal:
        return answer
    answer = tree_map_only(Tensor, OnCard, answer)
    return return_and_correct_aliasing(func, args, kwargs, answer) if len(others) < len(tensors) else answer


def goes_to_card(func, args, kwargs):
    """Whether the operation's result lies on the card."""
    if kwargs.get("device") is not None:
        return torch.device(kwargs["device"]).type == CARD.type
    first = args[:1] if func is aten.copy_.default else (args, kwargs)
    return any(isinstance(leaf, OnCard) for leaf in tree_leaves(first))


def waits(func, args):
    """Whether the host has to know what is on the card: a number, or how many entries a mask has that picks some, but
    not where a number is written."""
    if str(func).startswith(WAITS):
        return True
    if not str(func).startswith(("aten.index.", "aten.index_put", "aten._index_put", "aten._unsafe_index")):
        return False
    number = len(args) > 2 and args[2].numel() == 1
    return not number and any(getattr(pick, "dtype", None) in (torch.bool, torch.uint8) for pick in args[1])


def place(func):
    """The operation, and the line of our code that asked for it."""
    frame = sys._getframe(1)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(ROOT) and not {".venv", "tests"} & set(path.relative_to(ROOT).parts):
            return f"{path.relative_to(ROOT)}:{frame.f_lineno} {func}"
        frame = frame.f_back
    return f"outside of our code: {func}"
