"""Imagenette: ten easily told classes of ImageNet."""

from dataclasses import dataclass
from typing import ClassVar

from hundredfold.methods.options import CountOrZero
from hundredfold.replication.datasets._files import Download
from hundredfold.replication.datasets._folders import FolderImages
from hundredfold.replication.datasets._images import Pixels


@dataclass(frozen=True)
class Imagenette(FolderImages):
    """Colour photographs, 160 pixels and more, 10 classes: 8,469 training, 1,000 validation and 3,925 test images.

    The second version, whose published validation part, here the test split, is 30 %.
    Source: Howard 2019, https://github.com/fastai/imagenette.
    """

    resolution: Pixels = 128  # height and width in pixels
    crop: CountOrZero = 16  # shift training images by up to so many pixels each way, black coming in

    license: ClassVar[str] = "Apache-2.0; the images under ImageNet's terms of access"
    source: ClassVar[str] = "https://github.com/fastai/imagenette"
    splits: ClassVar[str] = "8,469 / 1,000 / 3,925 images"
    folder: ClassVar[str] = "imagenette2-160"
    downloads: ClassVar[tuple[Download, ...]] = (
        Download(
            "https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-160.tgz",
            "imagenette2-160.tgz",
            "md5:e793b78cc4c9e9a4ccc0c1155377a412",
            99_003_388,
            ("imagenette2-160/train", "imagenette2-160/val"),
        ),
    )
    num_classes: ClassVar[int] = 10
    num_validation: ClassVar[int] = 1000
