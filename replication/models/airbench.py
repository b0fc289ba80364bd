"""A convolutional network that learns CIFAR-10 fast: whitened patches, six convolutions, a scaled head."""

import itertools
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hundredfold.methods.options import Count
from hundredfold.replication.models.base import DataDependent, Model, scaled_neurons

SIDE = 2  # pixels of a whitened patch
SCALE = 1 / 9  # of the logits
REGULAR = 5e-4  # added to the variance of every direction of a patch


@dataclass(frozen=True)
class Airbench(Model):
    """Three groups of two convolutions after a frozen layer that whitens patches of 2 x 2 pixels.

    The first layer's weights are the directions of the training images' patches, each with both signs, over their
    deviation; its biases are learned. Convolutions begin as the identity, norms have no scale, and an image's logits
    are the mean over several views of it when the network is not in training.
    Source: Jordan 2024, arXiv:2404.00498 (airbench94: 64, 256 and 256 channels), written anew from its description.
    """

    channels: tuple[Count, Count, Count] = (64, 256, 256)
    views: Literal[1, 2, 6] = 2  # of an image to predict: itself, with its mirror image, and both shifted by a pixel

    kinds: ClassVar[tuple[str, ...]] = ("image",)
    small: ClassVar[dict[str, Any]] = {"channels": (8, 8, 8)}
    smallest_image: ClassVar[int] = 16

    def construct(self, spec, width):
        sizes = [2 * spec.input_shape[0] * SIDE**2, *self.channels]
        groups = [_group(inputs, outputs, width) for inputs, outputs in itertools.pairwise(sizes)]
        return _Network(spec.input_shape[0], groups, nn.Linear(sizes[-1], spec.num_classes, bias=False), self.views)


def _group(inputs, outputs, width):
    """Two convolutions, the first of which halves the image and gets narrower with `width`."""
    inner = scaled_neurons(outputs, width)
    return nn.Sequential(
        _conv(inputs, inner), nn.MaxPool2d(2), _norm(inner), nn.GELU(), _conv(inner, outputs), _norm(outputs), nn.GELU()
    )


def _conv(inputs, outputs):
    """A convolution 3 x 3 that begins as the identity of as many channels as it can hold."""
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    same = min(inputs, outputs)
    nn.init.dirac_(conv.weight.data[:same])
    return conv


def _norm(channels):
    norm = nn.BatchNorm2d(channels, eps=1e-12, momentum=0.4)
    norm.weight.requires_grad_(False)
    return norm


class Whitening(nn.Module):
    """A frozen convolution whose outputs are uncorrelated over the patches that `fit` has seen; its biases learn."""

    def __init__(self, channels):
        super().__init__()
        size = channels * SIDE**2
        self.register_buffer("weight", nn.init.orthogonal_(torch.empty(2 * size, size)).view(-1, channels, SIDE, SIDE))
        self.bias = nn.Parameter(torch.zeros(2 * size))

    weight: Tensor

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Take the directions from standardised images [N, C, H, W]."""
        patches = F.unfold(images.float(), SIDE).transpose(1, 2).flatten(0, 1).double()
        variance, directions = torch.linalg.eigh((patches.T @ patches / len(patches)).cpu())
        scaled = (directions / (variance + REGULAR).sqrt()).T.reshape(-1, *self.weight.shape[1:])
        self.weight.copy_(torch.cat([scaled, -scaled]))

    def forward(self, x):
        return F.gelu(F.conv2d(x, self.weight, self.bias))


class _Network(DataDependent):
    def __init__(self, channels, groups, head, views):
        super().__init__()
        self.whitening = Whitening(channels)
        self.groups = nn.Sequential(*groups)
        self.head = head
        self.views = views

    def fit(self, images):
        self.whitening.fit(images)

    def forward(self, x):
        if self.training or self.views == 1:
            return self.logits(x)
        views, weights = [x], [1.0]
        if self.views == 6:
            wide = F.pad(x, (1, 1, 1, 1), mode="reflect")
            views, weights = [x, wide[..., :-2, :-2], wide[..., 2:, 2:]], [0.5, 0.25, 0.25]
        both = torch.cat([*views, *(view.flip(-1) for view in views)])
        parts = self.logits(both).chunk(2 * len(views))
        return sum(weight / 2 * part for weight, part in zip(2 * weights, parts, strict=True))

    def logits(self, x):
        x = self.groups(self.whitening(x))
        return self.head(x.amax((2, 3))) * SCALE
