"""ResNet-50 of timm: bottlenecks of three convolutions; with CIFAR's stem for small images."""

from dataclasses import dataclass
from typing import Any, ClassVar

from hundredfold.methods.options import Count
from hundredfold.replication.models._timm_resnet import TimmResnet


@dataclass(frozen=True)
class Resnet50(TimmResnet):
    """ResNet-50 (timm's class and initialisation), bottlenecks of three convolutions.

    Source: He et al. 2015, arXiv:1512.03385.
    """

    blocks: tuple[Count, Count, Count, Count] = (3, 4, 6, 3)  # of the four stages

    architecture: ClassVar[str] = "resnet50"
    small: ClassVar[dict[str, Any]] = {"blocks": (1, 1, 1, 1), "channels": 8}
