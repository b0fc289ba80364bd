"""SVHN: house numbers photographed from the street."""

import io
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torchvision.datasets import SVHN

from hundredfold.methods.options import CountOrZero
from hundredfold.replication.datasets._files import Download, read
from hundredfold.replication.datasets._images import Images

SIZES = {"train": 182_040_794, "test": 64_275_384}
FILES = {
    part: Download(url, f"svhn/{name}", f"md5:{md5}", SIZES[part])
    for part, (url, name, md5) in SVHN.split_list.items()
    if part in SIZES
}


@dataclass(frozen=True)
class Svhn(Images):
    """House-number digits, 32 x 32 pixels, 10 classes: 68,257 training, 5,000 validation and 26,032 test images.

    The "extra" images are not used.
    Source: Netzer et al. 2011, Reading Digits in Natural Images with Unsupervised Feature Learning.
    """

    crop: CountOrZero = 4  # shift training images by up to so many pixels each way, black coming in

    license: ClassVar[str] = "none stated; for non-commercial use only"
    source: ClassVar[str] = "http://ufldl.stanford.edu/housenumbers/"
    splits: ClassVar[str] = "68,257 / 5,000 / 26,032 images"
    downloads: ClassVar[tuple[Download, ...]] = tuple(FILES.values())
    channels: ClassVar[int] = 3
    size: ClassVar[int] = 32
    num_classes: ClassVar[int] = 10
    num_validation: ClassVar[int] = 5000

    def arrays(self, part):
        import scipy.io  # slow to import, so only where it is used

        matrices = scipy.io.loadmat(io.BytesIO(read(self.name(), FILES[part].path, FILES[part].digest)))
        classes = matrices["y"].ravel().astype(np.int64) % 10  # the digit 0 is labelled 10
        return np.ascontiguousarray(matrices["X"].transpose(3, 2, 0, 1)), classes
