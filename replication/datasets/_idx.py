"""MNIST and the sets of its form: grey images of 28 x 28 pixels in gzipped IDX files."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hundredfold.replication.datasets._files import Download, data_root, read_gzip
from hundredfold.replication.datasets._images import Images

TYPE_UINT8 = 8


def downloads(cls, sizes):
    """The downloads that a data set class of torchvision lists.

    Args:
        cls: such as `torchvision.datasets.MNIST`.
        sizes: bytes of each file.
    """
    mirror, folder = cls.mirrors[0], f"{cls.__name__}/raw"
    files = zip(cls.resources, sizes, strict=True)
    return tuple(Download(mirror + name, f"{folder}/{name}", f"md5:{md5}", size) for (name, md5), size in files)


def read_idx(name, relative, digest=None):
    """Return the uint8 array in a gzipped IDX file: two zero bytes, the type, the number of axes, their lengths, data.

    Raises:
        ValueError: the file is missing, damaged or of another form.
    """
    data = read_gzip(name, relative, digest)
    num_axes = data[3] if data[:3] == bytes([0, 0, TYPE_UINT8]) else 0
    shape = np.frombuffer(data, ">i4", num_axes, 4) if len(data) >= 4 * (num_axes + 1) else ()
    start = 4 * (num_axes + 1)
    if not num_axes or len(data) - start != np.prod(shape, dtype=int):
        raise ValueError(f"dataset={name}: {data_root() / relative} is not an IDX file of bytes; fetch it again")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


@dataclass(frozen=True)
class IdxImages(Images):
    """Images and classes in the four files of `downloads`: training images and classes, test images and classes."""

    channels: ClassVar[int] = 1
    size: ClassVar[int] = 28
    num_classes: ClassVar[int] = 10
    num_validation: ClassVar[int] = 5000

    def arrays(self, part):
        images, classes = (
            read_idx(self.name(), item.path, item.digest) for item in self.downloads[0 if part == "train" else 2 :][:2]
        )
        return images[:, None].copy(), classes.astype(np.int64)
