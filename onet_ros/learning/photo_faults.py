"""What cameras and segmentations do to pictures: exposure, white balance, blur, noise, JPEG, masks a little off."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 8  # of JPEG
# Standard luminance quantisation table of JPEG (ITU-T T.81, table K.1); used for all three colours.
_LUMINANCE = torch.tensor(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    dtype=torch.float32,
)


def developed(linear: Tensor, generator: torch.Generator) -> Tensor:
    """Linear RGB (N, h * w, 3) -> uint8 sRGB (N, h * w, 3), each exposed for its own brightness, more or less well."""
    n, device = len(linear), linear.device
    brightness = linear.clamp(0.0, 2.0).mean(dim=(1, 2)).clamp(min=0.01)
    goal = 0.12 + 0.3 * torch.rand(n, generator=generator).to(device)
    exposed = (linear * (goal / brightness)[:, None, None]).clamp(0.0, 1.0)
    srgb = torch.where(exposed <= 0.0031308, 12.92 * exposed, 1.055 * exposed.clamp(min=1e-6) ** (1.0 / 2.4) - 0.055)
    return (255.0 * srgb + 0.5).to(torch.uint8)


def photo_faults(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Pictures (N, 3, S, S) in 0 to 1 as other cameras would have taken them; S a multiple of 8.

    Args:
        strength: 0 leaves them as they are, 1 is the full range.
    """
    if strength == 0.0:
        return images
    n, device = len(images), images.device

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return (low + (high - low) * torch.rand(n, *shape, generator=generator)).to(device)

    balance = torch.exp(strength * uniform(-0.12, 0.12, 3))
    gain = torch.exp(strength * uniform(-0.35, 0.35))
    contrast = torch.exp(strength * uniform(-0.3, 0.3))
    grey = strength * uniform(0.0, 1.0) ** 4  # towards a grey picture
    x = images * (balance * gain[:, None])[:, :, None, None]
    middle = x.mean(dim=(1, 2, 3), keepdim=True)
    x = middle + (x - middle) * contrast[:, None, None, None]
    x = x + grey[:, None, None, None] * (x.mean(dim=1, keepdim=True) - x)
    x = _blurred(x, strength * uniform(0.0, 1.0))
    x = x + 0.04 * strength * uniform(0.0, 1.0)[:, None, None, None] ** 2 * torch.randn(
        x.shape, generator=generator
    ).to(device)
    x = x.clamp(0.0, 1.0)
    coded = torch.rand(n, generator=generator).to(device) < 0.5 * strength
    coarseness = torch.exp(uniform(math.log(0.1), math.log(1.2)))
    return torch.where(coded[:, None, None, None], _jpeg(x, coarseness), x)


def mask_faults(masks: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Masks (N, S, S) in 0 to 1 with outlines that waver, bulge or shrink by a pixel or two."""
    if strength == 0.0:
        return masks
    n, size = masks.shape[:2]

    def uniform(low: float, high: float) -> Tensor:
        return (low + (high - low) * torch.rand(n, generator=generator)).to(masks.device)[:, None, None]

    coarse = torch.randn(n, 1, size // 8, size // 8, generator=generator).to(masks.device)
    wave = F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=False).squeeze(1)
    soft = F.avg_pool2d(F.avg_pool2d(masks.unsqueeze(1), 3, 1, 1), 3, 1, 1).squeeze(1)
    level = 0.5 + strength * (uniform(-0.3, 0.3) + uniform(0.0, 0.25) * wave)
    return (soft > level.clamp(0.05, 0.95)).float()


def _blurred(x: Tensor, sigma: Tensor) -> Tensor:
    """(N, C, S, S) blurred by Gaussians of sigma (N,) pixels."""
    offsets = torch.arange(-2, 3, device=x.device, dtype=x.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma.clamp(min=0.05)[:, None]) ** 2)
    kernel = kernel / kernel.sum(dim=1, keepdim=True)
    n, c, h, w = x.shape
    flat = F.pad(x, (2, 2, 2, 2), mode="replicate").reshape(1, n * c, h + 4, w + 4)
    each = kernel.repeat_interleave(c, dim=0)
    flat = F.conv2d(flat, each[:, None, :, None], groups=n * c)
    return F.conv2d(flat, each[:, None, None, :], groups=n * c).view(n, c, h, w)


def _jpeg(x: Tensor, coarseness: Tensor) -> Tensor:
    """(N, C, S, S) in 0 to 1, each colour's 8 x 8 blocks rounded as JPEG does it; coarseness (N,), 1 is the norm."""
    n, c, h, w = x.shape
    k = torch.arange(BLOCK, device=x.device, dtype=x.dtype)
    basis = torch.cos(math.pi / BLOCK * (k[None, :] + 0.5) * k[:, None]) * math.sqrt(2.0 / BLOCK)
    basis[0] /= math.sqrt(2.0)
    blocks = x.view(n, c, h // BLOCK, BLOCK, w // BLOCK, BLOCK).transpose(3, 4) * 255.0 - 128.0
    table = (_LUMINANCE.to(x) * coarseness[:, None, None]).clamp(min=1.0)[:, None, None, None]
    coefficients = ((basis @ blocks @ basis.t()) / table).round() * table
    decoded = (basis.t() @ coefficients @ basis + 128.0) / 255.0
    return decoded.transpose(3, 4).reshape(n, c, h, w).clamp(0.0, 1.0)
