"""ImageNet-1k (ILSVRC 2012): a thousand classes, from folders that the user has."""

from dataclasses import dataclass
from typing import ClassVar

from hundredfold.replication.datasets._folders import FolderImages


@dataclass(frozen=True)
class Imagenet(FolderImages):
    """Colour photographs, 1,000 classes: 1,231,167 training, 50,000 validation and 50,000 test images.

    Read from `imagenet/train/<class>` and `imagenet/val/<class>` below the data root. It is not downloaded: access has
    to be asked for. The decoded array takes 16 GB at 64 pixels and 193 GB at 224; it is memory-mapped, never loaded.
    Source: Russakovsky et al. 2015, arXiv:1409.0575.
    """

    license: ClassVar[str] = "ImageNet's terms of access: non-commercial research and education"
    source: ClassVar[str] = "https://www.image-net.org/download.php"
    splits: ClassVar[str] = "1,231,167 / 50,000 / 50,000 images"
    resident: ClassVar[bool] = False
    folder: ClassVar[str] = "imagenet"
    how: ClassVar[str | None] = "ask for access at https://www.image-net.org/download.php and unpack it there"
    num_classes: ClassVar[int] = 1000
    num_validation: ClassVar[int] = 50_000
