"""Fourier swap and AdaIN against the reference code's numbers, and against loops."""

import numpy as np
import pytest
import torch
from torch import nn

from keyshift.adapt import style
from keyshift.adapt.style import StyleNetwork, encoder_weights


@pytest.mark.parametrize("tag", ["even", "odd"])
def test_fourier_swap(golden, tag):
    arrays = golden.load("strategy_fda")
    names = [name for name in arrays.files if name.startswith(f"{tag}.")]
    for name in names:
        if name.rpartition(".")[2] in ("stats", "shape", "step"):
            continue
        kind = name.removeprefix(f"{tag}.")
        share = kind.removeprefix("L").removesuffix(".cells").removesuffix(".cells_torch")
        size = arrays[f"{tag}.beta0.cells"].shape
        if kind.endswith("cells"):
            reach = int(kind[4:-6]) if kind.startswith("beta") else int(float(share) * min(size))
            assert np.array_equal(style.swapped_cells(size, reach).numpy(), arrays[name])
        elif kind.endswith("cells_torch"):
            cells = style.swapped_cells(size, int(float(share) * min(size)), symmetric=False)
            assert np.array_equal(cells.numpy(), arrays[name])
        elif kind == f"L{share}":
            content = 110 + 40 * golden.texture(f"{tag}.source", (1, 3, *size))[0]
            other = 150 + 60 * golden.texture(f"{tag}.target", (1, 3, *size))[0]
            golden.compare(arrays, name, style.fourier_swap(content, other, float(share)))
    assert len(names) > 10


@pytest.mark.parametrize("symmetric", [True, False])
def test_fourier_swap_against_numpy(symmetric):
    generator = torch.Generator().manual_seed(0)
    content, other = (255 * torch.rand(2, 3, 10, 7, generator=generator) for _ in range(2))
    content[0, 0] = 0
    wanted = np.zeros(content.shape)
    for i in range(2):
        for c in range(3):
            own, theirs = (np.fft.fft2(x[i, c].numpy()) for x in (content, other))
            amplitude, phase = np.abs(own), np.angle(own)
            for row, v in enumerate(np.fft.fftfreq(10, 1 / 10)):
                for column, u in enumerate(np.fft.fftfreq(7, 1 / 7)):
                    if max(abs(v), abs(u)) <= 2 if symmetric else min(u, v) >= -2 and max(u, v) < 2:
                        amplitude[row, column] = abs(theirs[row, column])
            wanted[i, c] = np.fft.ifft2(amplitude * np.exp(1j * phase)).real
    swapped = style.fourier_swap(content, other, reach=2, symmetric=symmetric)
    np.testing.assert_allclose(swapped.numpy(), wanted, atol=2e-3)
    whole = style.fourier_swap(content, other, reach=2, symmetric=symmetric, truncated=True)
    assert (whole - swapped.clamp(0, 255)).abs().max() < 1
    assert torch.equal(whole, whole.trunc())


def test_a_swap_of_nothing_but_the_mean_moves_the_mean():
    content, other = (255 * torch.rand(2, 3, 32, 32) for _ in range(2))
    swapped = style.fourier_swap(content, other, 0.01)
    torch.testing.assert_close(swapped.mean((2, 3)), other.mean((2, 3)))
    torch.testing.assert_close(
        swapped - swapped.mean((2, 3), True), content - content.mean((2, 3), True), atol=2e-4, rtol=0
    )
    image = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    torch.testing.assert_close(style.intensities(style.normalize(image)), image.float())
    torch.testing.assert_close(style.normalized(image.float()), style.normalize(image))


def test_adain_and_gram(golden):
    arrays = golden.load("strategy_uniframe")
    content = (golden.normal("content", arrays["adain.transferred"].shape, 2) + 1).requires_grad_()
    other = (golden.normal("style", arrays["adain.energy.grad_style"].shape, 0.7) - 0.5).requires_grad_()
    mean, std = style.moments(other)
    golden.compare(arrays, "adain.mean", mean)
    golden.compare(arrays, "adain.std", std)
    golden.compare(arrays, "adain.gram", style.gram(content))
    transferred = style.adain(content, other)
    golden.compare(arrays, "adain.transferred", transferred)
    energy = (transferred.square() * torch.arange(1.0, content.shape[-1] + 1)).sum()
    golden.compare(arrays, "adain.energy", energy)
    energy.backward()
    golden.compare(arrays, "adain.energy.grad_content", content.grad)
    golden.compare(arrays, "adain.energy.grad_style", other.grad)


def test_the_style_network(golden):
    arrays = golden.load("strategy_uniframe")
    network = StyleNetwork()
    assert {k: tuple(v.shape) for k, v in network.state_dict().items()} == dict(golden.keys("strategy_uniframe.style"))
    network.load_state_dict(golden.weights("strategy_uniframe.style", ()))
    flat = torch.cat([value.flatten() for value in network.state_dict().values()]).double()
    np.testing.assert_allclose([len(flat), flat.sum(), flat.abs().sum()], arrays["weights.style"], rtol=1e-9)
    np.testing.assert_array_equal(flat[:4].float().numpy(), arrays["weights.style.first4"])
    shape = (1, *arrays["style.output.shape"][1:])
    content, other = golden.texture("style.content", shape), golden.texture("style.style", shape)
    for name, level in zip(("relu1_1", "relu2_1", "relu3_1", "relu4_1"), network.levels(other), strict=True):
        golden.compare(arrays, f"style.{name}", level)
    losses, output = network.losses(content, other, 0.6, "gram")
    golden.compare(arrays, "style.output", output)
    golden.compare(arrays, "style.loss_content", losses["content"])
    golden.compare(arrays, "style.loss_style", losses["style"])
    golden.compare(arrays, "style.clamp", torch.tensor([style.DARKEST, style.BRIGHTEST]))
    golden.compare(arrays, "style.clamped", network(content, other, 0.6))


def test_what_trains_the_decoder_is_the_distance_of_means_and_deviations():
    generator = torch.Generator().manual_seed(0)
    ours, theirs = ([torch.randn(2, c, 5, 4, generator=generator) for c in (3, 6)] for _ in range(2))
    wanted = 0.0
    for own, other in zip(ours, theirs, strict=True):
        for statistic in (lambda x: x.mean(), lambda x: (x.var() + 1e-5).sqrt()):
            pairs = [(statistic(own[i, c]), statistic(other[i, c])) for i in range(2) for c in range(own.shape[1])]
            wanted += sum((a - b) ** 2 for a, b in pairs) / len(pairs)
    torch.testing.assert_close(style.style_loss(ours, theirs), wanted)
    assert style.style_loss(ours, theirs, "gram") != wanted
    assert style.style_loss(ours, ours) == 0


def test_a_decoder_learns_to_move_channel_statistics():
    """A narrow network with a random encoder: pictures in a bright style come out brighter than those in a dark one,
    though they were darker."""
    torch.manual_seed(0)
    network = StyleNetwork(8)
    optimizer = torch.optim.Adam(network.decoder.parameters(), 3e-3)
    values = []
    for _ in range(40):
        dark, bright = (offset + 0.5 * torch.randn(2, 3, 16, 16) for offset in (-1.0, 1.0))
        losses, _ = network.losses(torch.cat([dark, bright]), torch.cat([bright, dark]))
        loss = losses["content"] + 0.1 * losses["style"]
        values.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert values[-1] < values[0] / 5
    assert all(parameter.grad is None for part in (network.enc_1, network.enc_4) for parameter in part.parameters())
    assert network(dark, bright).mean() > network(bright, dark).mean() + 0.4
    odd = torch.randn(2, 3, 19, 22)
    assert network(odd, bright[:2]).shape == odd.shape


def test_files(tmp_path):
    network = StyleNetwork(2)
    network.save(tmp_path / "style.pt", 3)
    loaded = StyleNetwork.load(tmp_path / "style.pt")
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in network.state_dict().items())
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    with pytest.raises(ValueError, match="no checkpoint at"):
        StyleNetwork.load(tmp_path / "none.pt")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="not a keyshift checkpoint"):
        StyleNetwork.load(tmp_path / "other.pt")
    with pytest.raises(ValueError, match="is no VGG-19"):
        encoder_weights(tmp_path / "other.pt")


@pytest.mark.parametrize("own", [False, True])
def test_weights_of_vgg(tmp_path, own):
    """torchvision's file, and one with a 1x1 convolution before."""
    wide = StyleNetwork()
    kernels = [layer.weight.shape for layer in wide.encoder][0 if own else 1 :]
    state = {}
    for number, shape in enumerate([*kernels, (512, 512, 3, 3)]):
        name = f"{number}" if own else f"features.{number}"
        state |= {f"{name}.weight": torch.rand(shape), f"{name}.bias": torch.rand(shape[0])}
    torch.save(state, tmp_path / "vgg.pt")
    wide.load_encoder(encoder_weights(tmp_path / "vgg.pt"))
    first = wide.enc_1[0].weight.view(3, 3)
    assert torch.equal(first, state["0.weight"].view(3, 3) if own else torch.eye(3))
    assert torch.equal(wide.enc_1[2].weight, state["1.weight" if own else "features.0.weight"])
    assert torch.equal(wide.enc_4[11].bias, state["9.bias" if own else "features.8.bias"])
    assert isinstance(wide.enc_4[9], nn.MaxPool2d)
