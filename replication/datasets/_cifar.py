"""CIFAR-10 and CIFAR-100 in the authors' binary version: no pickle is read."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hundredfold.methods.options import CountOrZero
from hundredfold.replication.datasets._files import data_root, read
from hundredfold.replication.datasets._images import Flip, Images

PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class Cifar(Images):
    """Colour images of 32 x 32 pixels in records: label bytes, the last of which counts, then the planes R, G, B."""

    flip: Flip = True  # mirror half of the training images; alternating: the other half in every other epoch
    crop: CountOrZero = 4  # shift training images by up to so many pixels each way, black coming in

    num_label_bytes: ClassVar[int]
    files: ClassVar[dict[str, dict[str, str]]]  # part -> path -> digest
    channels: ClassVar[int] = 3
    size: ClassVar[int] = 32
    num_validation: ClassVar[int] = 5000

    def arrays(self, part):
        records = np.concatenate([self.records(path, digest) for path, digest in self.files[part].items()])
        pixels = records[:, self.num_label_bytes :].reshape(-1, 3, 32, 32)
        return pixels.copy(), records[:, self.num_label_bytes - 1].astype(np.int64)

    def records(self, path, digest):
        """Return the records of one file, uint8 [N, label bytes + 3072]."""
        data = np.frombuffer(read(self.name(), path, digest), np.uint8)
        if not len(data) or len(data) % (self.num_label_bytes + PIXELS):
            raise ValueError(f"dataset={self.name()}: {data_root() / path} is cut off; delete it and fetch it again")
        return data.reshape(-1, self.num_label_bytes + PIXELS)
