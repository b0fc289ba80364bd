"""Logistic regression on pairs of neighbouring pixels: what look-up makes of images, without a network."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hundredfold.methods.options import Count
from hundredfold.replication.models.base import Model

DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))  # right, down, and both diagonals


class Pairs(nn.Module):
    """Pixels [B, C, H, W] and the pairs that each begins -> [B, C * (1 + 4 * reach) * H * W]; black counts as zero.

    A pair is the geometric mean of two pixels above the darkest one of their image: bright only where both are.
    """

    def __init__(self, reach: int):
        super().__init__()
        self.reach = reach

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        bright = images - images.amin(dim=(-3, -2, -1), keepdim=True)
        padded = F.pad(bright, (self.reach, self.reach, 0, self.reach))
        features = [bright]
        for distance in range(1, self.reach + 1):
            for down, right in DIRECTIONS:
                top, left = down * distance, self.reach + right * distance
                features.append(torch.sqrt(bright * padded[..., top : top + height, left : left + width]))
        return torch.cat(features, dim=-3).flatten(1)


@dataclass(frozen=True)
class PixelNgrams(Model):
    """A linear model of every pixel and of its pairs with neighbours in four directions up to a distance.

    Source: demo/mnist/pixelngrams.cpp of Vowpal Wabbit (Langford et al.). Differs: pairs do not wrap around the edge;
    one softmax in place of ten regressions; all features are computed, where Vowpal Wabbit leaves out those that are
    zero.
    """

    reach: Count = 3  # pixels between the two of a pair, at most

    kinds: ClassVar[tuple[str, ...]] = ("image",)
    small: ClassVar[dict[str, Any]] = {"reach": 1}

    def construct(self, spec, width):
        channels, height, breadth = spec.input_shape
        features = channels * (1 + len(DIRECTIONS) * self.reach) * height * breadth
        linear = nn.Linear(features, spec.num_classes)
        with torch.no_grad():
            linear.weight.mul_(0.1)  # features are never below zero, so that torch's own draw gives large logits
        return nn.Sequential(Pairs(self.reach), linear)
