"""ResNet-18 of timm: two convolutions a block; with CIFAR's stem for small images."""

from dataclasses import dataclass
from typing import Any, ClassVar

from hundredfold.methods.options import Count
from hundredfold.replication.models._timm_resnet import TimmResnet


@dataclass(frozen=True)
class Resnet18(TimmResnet):
    """ResNet-18 (timm's class and initialisation), two convolutions a block.

    Source: He et al. 2015, arXiv:1512.03385.
    """

    blocks: tuple[Count, Count, Count, Count] = (2, 2, 2, 2)  # of the four stages

    architecture: ClassVar[str] = "resnet18"
    small: ClassVar[dict[str, Any]] = {"blocks": (1, 1, 1, 1), "channels": 8}
