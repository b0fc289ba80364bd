"""Image sets that live on the device as pixels and are standardised and augmented there, a batch at a time.

Legend: N images, B of a batch, C channels, H height, W width.
"""

import functools
import hashlib
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from torchvision.transforms.functional import resize

from hundredfold.methods.options import CountOrZero, Within
from hundredfold.replication.datasets import _scenario
from hundredfold.replication.datasets._files import data_root
from hundredfold.replication.datasets.base import Dataset, DataSpec, Split

Pixels = Annotated[int, Within(4, 1024, what="pixels")]
Flip = Literal[False, True, "alternating"]
CHUNK = 1000  # images resized or summed at once


@dataclass(frozen=True)
class Images(Dataset):
    """Images stored as uint8 [N, C, H, W].

    Validation is `num_validation` images of the published training set, stratified by class, within a class those whose
    pixels have the smallest SHA-256. Inputs are standardised by the mean and the deviation of each channel over the
    training split.
    """

    resolution: Pixels | None = None  # height and width in pixels, resized once when read; null keeps the images' own
    flip: Flip = False  # mirror half of the training images; alternating: the other half in every other epoch
    crop: CountOrZero = 0  # shift training images by up to so many pixels each way, black coming in

    channels: ClassVar[int]
    size: ClassVar[int]  # height and width as published
    num_classes: ClassVar[int]
    num_validation: ClassVar[int]

    def __post_init__(self):
        super().__post_init__()
        side = self.resolution or self.size
        if self.crop >= side:
            raise ValueError(f"crop={self.crop}: expected 0 to {side - 1} pixels; 0 leaves the images in place")

    def spec(self):
        side = self.resolution or self.size
        return DataSpec("image", (self.channels, side, side), self.num_classes, "accuracy")

    def arrays(self, part):
        """Read one published part.

        Args:
            part: "train" or "test".
        Returns:
            Pixels uint8 [N, C, H, W] and classes int64 [N], as numpy arrays.
        Raises:
            ValueError: a file is missing or not the original one.
        """
        raise NotImplementedError

    def raw_options(self):
        """Return the options that decide which published images `arrays` reads: name -> value."""
        return {}

    def training(self):
        return _training(self, data_root())

    def read_training(self):
        pixels, classes = self.arrays("train")
        keys = _scenario.digests(image.tobytes() for image in pixels)
        parts = _scenario.held_out(classes, keys, self.num_validation)
        return tuple(self._split(pixels[rows], classes[rows]) for rows in parts)

    def read_test(self):
        return self._split(*self.arrays("test"))

    @property
    def augments(self):
        return bool(self.flip) or self.crop > 0

    def augment(self, inputs, seen, generator):
        count = len(inputs)
        if self.crop:
            pad, (height, width) = self.crop, inputs.shape[-2:]
            moves = torch.randint(2 * pad + 1, (2, count), generator=generator).to(inputs.device, non_blocking=True)
            # Every window of the padded image is a view; only the chosen ones are copied.
            windows = F.pad(inputs, (pad,) * 4).unfold(2, height, 1).unfold(3, width, 1)
            inputs = windows[torch.arange(count, device=inputs.device), :, moves[0], moves[1]]
        if self.flip:
            alternating = self.flip == "alternating"
            mirrored = _turn(seen) if alternating else torch.rand(count, generator=generator) < 0.5
            mirrored = mirrored.to(inputs.device, non_blocking=True).view(-1, 1, 1, 1)
            inputs = torch.where(mirrored, inputs.flip(-1), inputs)
        return inputs

    def prepare(self, inputs, targets):
        mean, scale = _scaling(self, data_root(), inputs.device)
        return (inputs.float() - mean) * scale, targets

    def fingerprint(self):
        """The first 12 hex digits of SHA-256 of the published pixels and classes."""
        return _fingerprint(type(self)(**self.raw_options()), data_root())

    def _split(self, pixels, classes):
        images = torch.from_numpy(pixels)
        side = self.resolution or self.size
        if images.shape[-1] != side:
            images = torch.cat([resize(chunk, [side, side], antialias=True) for chunk in images.split(CHUNK)])
        return Split(images, torch.from_numpy(classes))


def _turn(seen):
    """Whether each image is mirrored, bool [B]: by a hash of its row at first, then in turn (arXiv:2404.00498)."""
    return (((seen.rows * 2654435761) >> 16) + seen.epochs) % 2 == 1


@functools.lru_cache(maxsize=1)
def _training(dataset, root):
    """The splits, kept for the standardisation: on a CPU the run trains from the same memory."""
    return Dataset.training(dataset)


@functools.lru_cache(maxsize=4)
def _scaling(dataset, root, device):
    """Mean and 1 / deviation of each channel over the training split, float [C, 1, 1]; exact sums, so deterministic."""
    pixels = dataset.training()[0].inputs
    total = torch.zeros(2, pixels.shape[1], dtype=torch.long)
    for chunk in pixels.split(CHUNK):
        values = chunk.transpose(0, 1).flatten(1).int()
        total += torch.stack([values.sum(1), (values * values).sum(1)])
    mean, square = total.double() / (pixels.numel() // pixels.shape[1])
    deviation = (square - mean * mean).sqrt().clamp_min(1e-3)
    return tuple(value.float().view(-1, 1, 1).to(device) for value in (mean, 1 / deviation))


@functools.lru_cache(maxsize=4)
def _fingerprint(dataset, root):
    digest = hashlib.sha256()
    for part in ("train", "test"):
        for array in dataset.arrays(part):
            digest.update(array.tobytes())
    return digest.hexdigest()[:12]
