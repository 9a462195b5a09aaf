"""DETR's transformer: an encoder over tokens of a picture, a decoder over queries, and the positions of cells.

Carion et al., "End-to-End Object Detection with Transformers", ECCV 2020; in the form and under the keys of PRTR,
mlpc-ucsd/PRTR @ 64970b8, two_stage/lib/models/transformer.py and positional_encoding.py: norms behind each sum, no
dropout, no norm behind the encoder. Agrees with it numerically. Tensors are (B, tokens, C) here, (tokens, B, C) there.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn


class Transformer(nn.Module):
    """Tokens and queries to the queries' states behind every layer of the decoder.

    `width` C is even and a multiple of `heads`. Raises ValueError for another width.
    """

    def __init__(self, width: int, heads: int, encoder_layers: int, decoder_layers: int, hidden: int) -> None:
        super().__init__()
        self.encoder = Encoder(width, heads, encoder_layers, hidden)
        self.decoder = Decoder(width, heads, decoder_layers, hidden)

    def forward(self, tokens: Tensor, positions: Tensor, queries: Tensor) -> Tensor:
        """tokens (B, N, C), their positions (N, C) or (B, N, C) and learned queries (Q, C) to (B, L, Q, C), decoder
        layer by decoder layer."""
        return self.decoder(self.encoder(tokens, positions), positions, queries)


class Encoder(nn.Module):
    """Layers of self-attention over tokens that know their positions. Matrices begin Xavier-uniform."""

    def __init__(self, width: int, heads: int, layers: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(width, heads, hidden) for _ in range(layers))
        xavier(self)

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """(B, N, C) to (B, N, C)."""
        for layer in self.layers:
            tokens = layer(tokens, positions)
        return tokens


class Decoder(nn.Module):
    """Layers in which queries look at each other and at the memory; one norm is behind the answers of all. Matrices
    begin Xavier-uniform."""

    def __init__(self, width: int, heads: int, layers: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(width, heads, hidden) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        xavier(self)

    def forward(self, memory: Tensor, positions: Tensor, queries: Tensor) -> Tensor:
        """memory (B, N, C), its positions (N, C) or (B, N, C), queries (Q, C): (B, L, Q, C)."""
        placed, queries = memory + positions, queries.expand(len(memory), -1, -1)
        states, answers = torch.zeros_like(queries), []
        for layer in self.layers:
            states = layer(states, queries, memory, placed)
            answers.append(self.norm(states))
        return torch.stack(answers, 1)


class EncoderLayer(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = attention(width, heads)
        self.linear1, self.linear2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        placed = tokens + positions
        tokens = self.norm1(tokens + self.self_attn(placed, placed, tokens, need_weights=False)[0])
        return self.norm2(tokens + self.linear2(self.linear1(tokens).relu()))


class DecoderLayer(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.self_attn, self.multihead_attn = attention(width, heads), attention(width, heads)
        self.linear1, self.linear2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))

    def forward(self, states: Tensor, queries: Tensor, memory: Tensor, placed: Tensor) -> Tensor:
        asking = states + queries
        states = self.norm1(states + self.self_attn(asking, asking, states, need_weights=False)[0])
        states = self.norm2(states + self.multihead_attn(states + queries, placed, memory, need_weights=False)[0])
        return self.norm3(states + self.linear2(self.linear1(states).relu()))


def attention(width: int, heads: int) -> nn.MultiheadAttention:
    """Over (B, tokens, C), in torch's fused form where no weights are asked for. Raises ValueError for a width that is
    odd or no multiple of the heads."""
    if width % heads or width % 2:
        raise ValueError(f"a transformer's width {width} must be even and a multiple of its {heads} heads")
    return nn.MultiheadAttention(width, heads, batch_first=True)


def xavier(module: nn.Module) -> None:
    """Matrices begin Xavier-uniform; norms and biases stay."""
    for parameter in module.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)


class MLP(nn.Module):
    """`layers` linear layers with ReLU between them, the last to `outputs`."""

    def __init__(self, inputs: int, hidden: int, outputs: int, layers: int) -> None:
        super().__init__()
        widths = [inputs, *[hidden] * (layers - 1), outputs]
        self.layers = nn.ModuleList(nn.Linear(first, second) for first, second in pairwise(widths))

    def forward(self, states: Tensor) -> Tensor:
        *hidden, last = self.layers
        for layer in hidden:
            states = layer(states).relu()
        return last(states)


def sine_positions(rows: int, columns: int, width: int, device: torch.device | None = None) -> Tensor:
    """Positions of a map's cells, row by row: (rows * columns, width) float32, the first half of y, the other of x.

    Of cell j of n the angle is 2 pi (j + 1) / n, over 10000^(2i / (width / 2)), sine and cosine in turn.
    """
    half = width // 2
    scales = 10_000 ** (torch.arange(0, half, 2, device=device) / half)
    lines = []
    for count in (rows, columns):
        angle = 2 * math.pi / (count + 1e-6) * torch.arange(1, count + 1, device=device)
        angles = angle[:, None] / scales
        lines.append(torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :half])
    y, x = lines
    return torch.cat([y[:, None].expand(-1, columns, -1), x.expand(rows, -1, -1)], -1).flatten(0, 1)
