"""Image sets in folders, one a class: decoded once to an array beside the folders, and memory-mapped from there."""

import functools
import hashlib
import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from PIL import Image
from rich.progress import track
from torchvision.datasets.folder import IMG_EXTENSIONS, find_classes, make_dataset
from torchvision.transforms.functional import center_crop, resize

from hundredfold.methods.options import CountOrZero
from hundredfold.replication.datasets import _scenario
from hundredfold.replication.datasets._files import atomic, data_root, found
from hundredfold.replication.datasets._images import CHUNK, Images, Pixels
from hundredfold.replication.datasets.base import Split


@dataclass(frozen=True)
class FolderImages(Images):
    """Colour images in `<folder>/<part>/<class>/...`, resized to `resolution` at their shorter side and cut square.

    Test is the published validation part. Validation is stratified by class, within a class the images whose path has
    the smallest SHA-256. The decoded images are kept as uint8 in `<folder>/.decoded/`, 3 * resolution ** 2 bytes each.
    """

    resolution: Pixels = 64  # height and width in pixels
    flip: bool = True  # mirror half of the training images
    crop: CountOrZero = 4  # shift training images by up to so many pixels each way, black coming in

    folder: ClassVar[str]
    how: ClassVar[str | None] = None  # to obtain the data where they are missing; None: by the download command
    parts: ClassVar[dict[str, str]] = {"train": "train", "test": "val"}
    channels: ClassVar[int] = 3
    size: ClassVar[int] = 64

    @classmethod
    def present(cls):
        return all((data_root() / cls.folder / part).is_dir() for part in cls.parts.values())

    def listed(self, part):
        """Return the images of a published part in a fixed order: [(path below the folder, class)].

        Raises:
            ValueError: the folder is missing, or not one of classes.
        """
        below = f"{self.folder}/{self.parts[part]}"
        path = found(self.name(), below, self.how)
        try:
            classes = find_classes(str(found(self.name(), f"{self.folder}/{self.parts['train']}", self.how)))[1]
            pairs = make_dataset(str(path), classes, extensions=IMG_EXTENSIONS, allow_empty=False)
        except FileNotFoundError as error:
            raise ValueError(
                f"dataset={self.name()}: {path} does not hold one folder of images per class ({error}); unpack it again"
            ) from None
        if len(classes) != self.num_classes:
            raise ValueError(
                f"dataset={self.name()}: {path.parent} has {len(classes)} classes, expected {self.num_classes}; "
                f"unpack it again"
            )
        return [(Path(image).relative_to(data_root() / self.folder).as_posix(), label) for image, label in pairs]

    def read_training(self):
        images = self.listed("train")
        classes = np.array([label for _, label in images])
        keys = _scenario.digests(path.encode() for path, _ in images)
        rest, validation = _scenario.held_out(classes, keys, self.num_validation)
        parts = {"train": rest, "validation": validation}
        return tuple(self._decoded(part, [images[row] for row in rows]) for part, rows in parts.items())

    def read_test(self):
        return self._decoded("test", self.listed("test"))

    def fingerprint(self):
        """The first 12 hex digits of SHA-256 of the paths and sizes of all images: contents are not read."""
        return _listing_digest(self, data_root())

    def _decoded(self, split, images):
        """The split of these images, read from their array, which is made first where it is not there."""
        folder = data_root() / self.folder
        names = hashlib.sha256("\n".join(path for path, _ in images).encode()).hexdigest()[:12]
        path = folder / ".decoded" / f"{split}-{self.resolution}-{names}.npy"
        if not path.exists():
            decode([folder / image for image, _ in images], self.resolution, path, f"{self.name()}: {split}")
        try:
            pixels = np.load(path, mmap_mode="c")  # private pages: torch wants them writable, the file stays as it is
        except (ValueError, EOFError) as error:
            raise ValueError(f"dataset={self.name()}: {path} is damaged ({error}); delete it to remake it") from None
        return Split(torch.from_numpy(pixels), torch.tensor([label for _, label in images]))


def decode(paths, side, target, title):
    """Decode images to one array file, uint8 [N, 3, side, side], which appears when it is whole.

    Raises:
        ValueError: an image is damaged, or the disk is full.
    """
    shape = (len(paths), 3, side, side)
    with atomic(target) as temporary, ThreadPoolExecutor() as pool:
        array = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
        steps = range(0, len(paths), CHUNK)
        for start in track(steps, title, transient=True, disable=len(steps) < 10):
            pieces = pool.map(_pixels, paths[start : start + CHUNK], itertools.repeat(side))
            array[start : start + CHUNK] = np.stack(list(pieces))
        array.flush()


def _pixels(path, side):
    """Return one image, uint8 [3, side, side]."""
    try:
        with Image.open(path) as image:
            image.draft("RGB", (side, side))  # a large JPEG is decoded at a lower scale that still suffices
            square = center_crop(resize(image.convert("RGB"), side), [side, side])
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{path}: is not a whole image ({error}); unpack it again") from None
    return np.asarray(square).transpose(2, 0, 1)


@functools.lru_cache(maxsize=4)
def _listing_digest(dataset, root):
    digest = hashlib.sha256()
    for part in ("train", "test"):
        for path, label in dataset.listed(part):
            digest.update(f"{path} {label} {(root / dataset.folder / path).stat().st_size}\n".encode())
    return digest.hexdigest()[:12]
