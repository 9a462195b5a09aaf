"""DETR's transformer against loops over heads, queries and cells, from its formulas."""

import numpy as np
import pytest
import torch

from keyshift.models.parts.transformer import MLP, Transformer, sine_positions

WIDTH, HEADS = 8, 2


@pytest.fixture
def transformer():
    torch.manual_seed(0)
    made = Transformer(WIDTH, HEADS, 2, 3, 12).double()
    for parameter in made.parameters():  # norms and biases that do something
        torch.nn.init.normal_(parameter, std=0.5)
    return made.eval()


def linear(layer, rows):
    return rows @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()


def norm(layer, rows):
    centred = rows - rows.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + layer.eps)
    return scaled * layer.weight.detach().numpy() + layer.bias.detach().numpy()


def naive_attention(module, asking, keys, values):
    """softmax(q k / sqrt(d)) v, one head and one query at a time, then the joint projection."""
    weight, bias = module.in_proj_weight.detach().numpy(), module.in_proj_bias.detach().numpy()
    thirds = zip((asking, keys, values), np.split(weight, 3), np.split(bias, 3), strict=True)
    parts = [rows @ w.T + b for rows, w, b in thirds]
    side, joined = WIDTH // HEADS, np.zeros_like(asking)
    for head in range(HEADS):
        q, k, v = (part[:, head * side : (head + 1) * side] for part in parts)
        for i in range(len(q)):
            scores = np.array([q[i] @ k[j] / np.sqrt(side) for j in range(len(k))])
            share = np.exp(scores - scores.max())
            joined[i, head * side : (head + 1) * side] = (share / share.sum()) @ v
    return linear(module.out_proj, joined)


def naive(transformer, tokens, positions, queries):
    """One picture's tokens (N, C) to (L, Q, C)."""
    for layer in transformer.encoder.layers:
        placed = tokens + positions
        tokens = norm(layer.norm1, tokens + naive_attention(layer.self_attn, placed, placed, tokens))
        tokens = norm(layer.norm2, tokens + linear(layer.linear2, np.maximum(linear(layer.linear1, tokens), 0)))
    states, answers = np.zeros_like(queries), []
    for layer in transformer.decoder.layers:
        asking = states + queries
        states = norm(layer.norm1, states + naive_attention(layer.self_attn, asking, asking, states))
        seen = naive_attention(layer.multihead_attn, states + queries, tokens + positions, tokens)
        states = norm(layer.norm2, states + seen)
        states = norm(layer.norm3, states + linear(layer.linear2, np.maximum(linear(layer.linear1, states), 0)))
        answers.append(norm(transformer.decoder.norm, states))
    return np.stack(answers)


def test_every_decoder_layer_answers_as_the_formula_says(transformer):
    tokens, queries = torch.randn(2, 6, WIDTH).double(), torch.randn(5, WIDTH).double()
    positions = sine_positions(2, 3, WIDTH).double()
    answers = transformer(tokens, positions, queries).detach().numpy()
    assert answers.shape == (2, 3, 5, WIDTH)
    for picture in range(2):
        wanted = naive(transformer, tokens[picture].numpy(), positions.numpy(), queries.numpy())
        np.testing.assert_allclose(answers[picture], wanted, atol=1e-10)


def test_each_picture_may_have_positions_of_its_own(transformer):
    tokens, queries = torch.randn(2, 6, WIDTH).double(), torch.randn(5, WIDTH).double()
    positions = torch.randn(2, 6, WIDTH).double()
    both = transformer(tokens, positions, queries)
    for picture in range(2):
        alone = transformer(tokens[picture : picture + 1], positions[picture], queries)[0]
        torch.testing.assert_close(both[picture], alone)


@pytest.mark.parametrize(("rows", "columns", "width"), [(2, 3, 8), (4, 1, 12), (3, 3, 6)])
def test_positions_are_sines_and_cosines_of_each_axis(rows, columns, width):
    wanted = np.zeros((rows, columns, width))
    half = width // 2
    for y in range(rows):
        for x in range(columns):
            for axis, angle in enumerate((2 * np.pi * (y + 1) / rows, 2 * np.pi * (x + 1) / columns)):
                for i in range(half):
                    wave = np.cos if i % 2 else np.sin
                    wanted[y, x, axis * half + i] = wave(angle / 10_000 ** (2 * (i // 2) / half))
    np.testing.assert_allclose(sine_positions(rows, columns, width).view(rows, columns, width), wanted, atol=1e-5)


def test_mlp_has_relu_between_its_layers_alone():
    torch.manual_seed(0)
    mlp, rows = MLP(4, 7, 3, 3), 9 * torch.randn(20, 4)
    wanted = rows.numpy()
    for index, layer in enumerate(mlp.layers):
        wanted = linear(layer, wanted)
        wanted = np.maximum(wanted, 0) if index < 2 else wanted
    np.testing.assert_allclose(mlp(rows).detach(), wanted, atol=1e-5)
    assert wanted.min() < 0


@pytest.mark.parametrize(("width", "heads"), [(10, 4), (9, 3)])
def test_a_width_that_heads_or_positions_cannot_share(width, heads):
    with pytest.raises(ValueError, match=rf"a transformer's width {width} must be even and a multiple of its {heads}"):
        Transformer(width, heads, 1, 1, 8)
