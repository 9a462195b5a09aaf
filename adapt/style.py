"""One domain's pictures in the style of another: low frequencies exchanged, or channel statistics through a network.

Fourier swap: FDA (Yang and Soatto, CVPR 2020; YanchaoYang/FDA @ b9a0cdf, utils/__init__.py), and as TLLib has it
(tllib/translation/fourier_transform.py @ c4aa59e). AdaIN (Huang and Belongie, ICCV 2017) as UniFrame has it
(VisionLearningGroup/UDA_PoseEstimation @ baf85f1, adain/net.py, lib/models/Style_net.py). Its network takes and gives
pictures as ImageNet normalises them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..datasets.constants import constants
from ..datasets.reading.files import from_home
from ..datasets.reading.weights import check_finite, read_content
from ..datasets.sample import Unlabeled
from ..models.pose_model import intensities, normalize, normalized
from ..models.saved import load_checkpoint, save_checkpoint

FORMAT = "keyshift style 1"
DARKEST, BRIGHTEST = (-2.1179, -2.0357, -1.8044), (2.2489, 2.4285, 2.64)
"""Black and white as ImageNet normalises them, in the digits of the reference."""
LOSSES = ("moments", "gram")


def coloured(sample: Unlabeled) -> bool:
    """Whether a batch is of colour pictures."""
    return "image" in sample.inputs and "reach" not in sample.inputs and sample.image.shape[-3] == 3


def swapped_cells(
    size: tuple[int, int], reach: int, device: torch.device | str = "cpu", symmetric: bool = True
) -> Tensor:
    """Which frequencies of pictures of `size` (H, W) are swapped, in the order of the FFT: (H, W) bool. Those with |f|
    <= reach on both axes; without `symmetric` -reach <= f < reach, as FDA's tensor version has it, so that a reach of 0
    swaps nothing."""
    near = []
    for count in size:
        frequency = torch.arange(count, device=device)
        frequency = torch.where(frequency < -(-count // 2), frequency, frequency - count)
        near.append((frequency >= -reach) & ((frequency <= reach) if symmetric else (frequency < reach)))
    return near[0][:, None] & near[1]


def fourier_swap(
    content: Tensor,
    style: Tensor,
    share: float = 0.01,
    *,
    reach: int | None = None,
    symmetric: bool = True,
    truncated: bool = False,
) -> Tensor:
    """Pictures (..., H, W) with the amplitudes of `style` (of the same shape) at low frequencies, their own phases and
    the rest. Both are floats of 0 to 255; a mean of 0 would lose the sign of what it takes.

    Frequencies up to floor(share * min(H, W)) are swapped, 0 of them the mean alone; `symmetric` as in `swapped_cells`.
    TLLib gives the `reach` itself (its beta), and has the result `truncated`: clipped to 0 ... 255 and cut to integers.
    FDA clips nothing.
    """
    height, width = content.shape[-2:]
    reach = int(share * min(height, width)) if reach is None else reach
    own, other = torch.fft.fft2(content.float()), torch.fft.fft2(style.float())
    phase = torch.where(own == 0, 1, torch.sgn(own))
    cells = swapped_cells((height, width), reach, content.device, symmetric)
    swapped = torch.fft.ifft2(torch.where(cells, phase * other.abs(), own)).real
    return swapped.clamp(0, 255).trunc() if truncated else swapped


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and sqrt(unbiased variance + 1e-5) of each channel of (B, C, H, W): two of (B, C, 1, 1)."""
    return features.mean((2, 3), keepdim=True), (features.var((2, 3), keepdim=True) + 1e-5).sqrt()


def adain(content: Tensor, style: Tensor) -> Tensor:
    """Features (B, C, H, W) with the moments of `style` (B, C, any H, any W)."""
    (mean, std), (new_mean, new_std) = moments(content), moments(style)
    return (content - mean) / std * new_std + new_mean


def gram(features: Tensor) -> Tensor:
    """F F^T / (C H W) of features (B, C, H, W): (B, C, C)."""
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2) / flat[0].numel()


def style_loss(output: list[Tensor], style: list[Tensor], kind: str = "moments") -> Tensor:
    """How far the style of features (B, C, H, W) at several levels is from that of others, summed over the levels.

    `moments`: MSE of means plus MSE of standard deviations, what UniFrame's decoder is trained with (adain/net.py).
    `gram`: MSE of Gram matrices, which its network for inference computes and does not use (Style_net.py).
    """
    read = moments if kind == "moments" else lambda features: (gram(features),)
    pairs = zip(output, style, strict=True)
    return torch.stack([sum(map(F.mse_loss, read(own), read(other)), own.new_zeros(())) for own, other in pairs]).sum()


def _conv(inner: int, outer: int) -> list[nn.Module]:
    return [nn.ReflectionPad2d(1), nn.Conv2d(inner, outer, 3), nn.ReLU()]


def _pool() -> nn.Module:
    return nn.MaxPool2d(2, ceil_mode=True)


def _double() -> nn.Module:
    return nn.Upsample(scale_factor=2, mode="nearest")


class StyleNetwork(nn.Module):
    """VGG-19 to relu4_1 behind a 1x1 convolution, and its mirror image as decoder, under the reference's keys. The
    encoder stays; the decoder learns to make a picture of features.

    `channels` of the first level are 64 in VGG. With fewer, or without weights, the encoder is random: a weak encoder
    of style, but one that tells colours, contrast and texture, and that trains on a CPU.
    """

    def __init__(self, channels: int = 64) -> None:
        super().__init__()
        c, self.channels = channels, channels
        self.enc_1 = nn.Sequential(nn.Conv2d(3, 3, 1), *_conv(3, c))
        self.enc_2 = nn.Sequential(*_conv(c, c), _pool(), *_conv(c, 2 * c))
        self.enc_3 = nn.Sequential(*_conv(2 * c, 2 * c), _pool(), *_conv(2 * c, 4 * c))
        four = [layer for _ in range(3) for layer in _conv(4 * c, 4 * c)]
        self.enc_4 = nn.Sequential(*four, _pool(), *_conv(4 * c, 8 * c))
        self.decoder = nn.Sequential(
            *(*_conv(8 * c, 4 * c), _double()),
            *(layer for _ in range(3) for layer in _conv(4 * c, 4 * c)),
            *(*_conv(4 * c, 2 * c), _double(), *_conv(2 * c, 2 * c), *_conv(2 * c, c), _double()),
            *(*_conv(c, c), *_conv(c, 3)[:2]),
        )
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name.startswith("decoder"))
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):  # keeps the variance of features, so that random levels weigh alike
                nn.init.kaiming_normal_(layer.weight)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        nn.init.dirac_(self.enc_1[0].weight)  # type: ignore[arg-type]

    @property
    def encoder(self) -> list[nn.Conv2d]:
        """Its ten convolutions."""
        parts = (self.enc_1, self.enc_2, self.enc_3, self.enc_4)
        return [layer for part in parts for layer in part if isinstance(layer, nn.Conv2d)]

    @torch.no_grad()
    def load_encoder(self, weights: list[tuple[Tensor, Tensor]]) -> None:
        """Take the weights and biases of the encoder's convolutions."""
        for layer, (weight, bias) in zip(self.encoder, weights, strict=True):
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)  # type: ignore[union-attr]

    def levels(self, image: Tensor) -> list[Tensor]:
        """relu1_1, relu2_1, relu3_1 and relu4_1 of normalised pictures (B, 3, H, W), the last (B, 8 C, H/8, W/8)."""
        features = [image]
        for part in (self.enc_1, self.enc_2, self.enc_3, self.enc_4):
            features.append(part(features[-1]))
        return features[1:]

    def code(self, content: Tensor, style: Tensor, alpha: float | Tensor = 1.0) -> Tensor:
        """alpha * adain + (1 - alpha) * content, of features at relu4_1."""
        return alpha * adain(content, style) + (1 - alpha) * content

    def losses(
        self, content: Tensor, style: Tensor, alpha: float = 1.0, kind: str = "moments"
    ) -> tuple[dict[str, Tensor], Tensor]:
        """What the decoder is trained with, `content` and `style`, not weighted; and its picture, not limited."""
        with torch.no_grad():
            wanted = self.levels(style)
            code = self.code(self.levels(content)[-1], wanted[-1], alpha)
        output = self.decoder(code)
        features = self.levels(output)
        return {"content": F.mse_loss(features[-1], code), "style": style_loss(features, wanted, kind)}, output

    @torch.no_grad()
    def forward(self, content: Tensor, style: Tensor, alpha: float | Tensor = 1.0) -> Tensor:
        """Normalised pictures (B, 3, H, W) in the style of others (B, 3, any size), held between black and white. Where
        8 does not divide a side the decoder's picture is larger, and is cut; the reference leaves it so."""
        height, width = content.shape[-2:]
        output = self.decoder(self.code(self.levels(content)[-1], self.levels(style)[-1], alpha))
        return limited(output[..., :height, :width])

    def save(self, path: Path, step: int) -> None:
        save_checkpoint(path, {"format": FORMAT, "channels": self.channels, "step": step, "style": self.state_dict()})

    @staticmethod
    def load(file: str | Path) -> StyleNetwork:
        """The network of a file that `save` wrote. Raises ValueError for any other."""
        path = from_home(file)
        state = load_checkpoint(
            path, ("format", "channels", "style"), "A style is what keyshift style EXPERIMENT writes"
        )
        try:
            network = StyleNetwork(int(state["channels"]))
            network.load_state_dict(state["style"])
            check_finite(state["style"])
        except (RuntimeError, TypeError, AttributeError, ValueError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ValueError(f"{path} holds no style network; train one with keyshift style: {reason}") from error
        return network.requires_grad_(False)


def limited(image: Tensor) -> Tensor:
    """Normalised pictures (B, 3, H, W) held between black and white."""
    low, high = (constants(values, image).view(3, 1, 1) for values in (DARKEST, BRIGHTEST))
    return image.clamp(low, high)


def encoder_weights(file: str | Path) -> list[tuple[Tensor, Tensor]]:
    """Weights and biases of the encoder's convolutions from a file: torchvision's vgg19 (features.*), whose pictures
    are normalised as ours, so that the 1x1 convolution becomes the identity; or a VGG-19 that begins with one, as that
    of pytorch-AdaIN. Raises ValueError for any other file."""
    path = from_home(file)
    try:
        content = read_content(path)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    state: dict[str, Any] = content if isinstance(content, dict) else {}
    kernels = [key for key, value in state.items() if isinstance(value, Tensor) and value.dim() == 4]
    pairs = [(state[key], state.get(f"{key.removesuffix('weight')}bias")) for key in kernels]
    if pairs and pairs[0][0].shape[2:] != (1, 1):
        pairs = [(torch.eye(3).view(3, 3, 1, 1), torch.zeros(3)), *pairs]
    wanted = [layer.weight.shape for layer in StyleNetwork().encoder]
    given = [weight.shape for weight, bias in pairs if bias is not None][: len(wanted)]
    if given != wanted:
        raise ValueError(
            f"{path} is no VGG-19: its convolutions are {[tuple(shape) for shape in given[:3]]}..., not "
            f"{[tuple(shape) for shape in wanted[:3]]}...; give torchvision's vgg19, or nothing for a random one"
        )
    return [(weight, bias) for weight, bias in pairs[: len(wanted)] if bias is not None]


def transferred(content: Tensor, style: Tensor, network: StyleNetwork | None, share: float, alpha: Tensor) -> Tensor:
    """Pictures (..., 3, H, W), uint8 or normalised, each in the style of its partner among as many others, normalised:
    by `network` at strength `alpha` (), or where that is None by a Fourier swap of `share`."""
    if network is None:
        return normalized(fourier_swap(intensities(content), intensities(style), share))
    own, other = (normalize(image.flatten(0, -4)) for image in (content, style))
    return network(own, other, alpha).reshape(content.shape)
