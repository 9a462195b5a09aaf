"""Fits of many windows at once against scipy's, one after another."""

import warnings

import numpy as np
import torch
from scipy.optimize import OptimizeWarning, curve_fit

from keyshift.models.parts.gaussian_fit import fitted


def gaussian(place, height, x0, y0, width):
    x, y = place
    return height * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * width**2))


def by_scipy(window, counted, start):
    y, x = np.nonzero(counted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OptimizeWarning)
        return curve_fit(gaussian, (x, y), window[y, x], p0=start, maxfev=300)[0]


def test_the_same_as_scipy():
    """Exact Gaussians, noisy ones, some cut at the border, and wide ones of which the start is far narrower."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:13, :13]
    windows, masks, starts = [], [], []
    for number in range(60):
        middle, width = rng.uniform(3.5, 8.5, 2), rng.uniform(1.5, 7)
        clean = gaussian((x, y), rng.uniform(0.2, 1), *middle, width)
        windows.append(clean + rng.normal(0, 0.01 * (number % 3), clean.shape))
        counted = np.ones_like(clean, bool)
        counted[:, : number % 4], counted[13 - number % 5 :] = False, False
        masks.append(counted)
        starts.append([windows[-1][6, 6], 6, 6, 2])
    best, done = fitted(*(torch.from_numpy(np.array(part)) for part in (windows, masks, starts)))
    assert done.all()
    for ours, *given in zip(best.numpy(), windows, masks, starts, strict=True):
        wanted = by_scipy(*given)
        np.testing.assert_allclose(np.abs(ours), np.abs(wanted), atol=2e-3)


def test_windows_that_are_none():
    """Flat windows and empty ones stay finite, and nobody's fit moves with them."""
    y, x = torch.meshgrid(torch.arange(13.0), torch.arange(13.0), indexing="ij")
    real = torch.exp(-((x - 6.3) ** 2 + (y - 5.8) ** 2) / 8)
    windows = torch.stack([torch.zeros(13, 13), real, torch.ones(13, 13)])
    start = torch.tensor([[0.0, 6, 6, 2], [0.9, 6, 6, 2], [1.0, 6, 6, 2]])
    best, done = fitted(windows, torch.ones_like(windows, dtype=torch.bool), start)
    assert best.isfinite().all()
    assert done[1]
    torch.testing.assert_close(best[1, 1:3], torch.tensor([6.3, 5.8], dtype=torch.float64), atol=1e-6, rtol=0)
    assert len(fitted(windows[:0], windows[:0] > 0, start[:0])[0]) == 0
