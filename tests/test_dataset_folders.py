"""Image folders are decoded once to an array that appears whole or not at all."""

import errno
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from hundredfold.replication.datasets import _folders, _images
from hundredfold.replication.datasets.imagenet import Imagenet
from hundredfold.replication.datasets.tiny_imagenet import TinyImagenet

COLORS = {"n01": (250, 0, 0), "n02": (0, 250, 0), "n03": (0, 0, 250)}


@dataclass(frozen=True)
class Small(_folders.FolderImages):
    """Three classes, 6 training and 2 test images each."""

    resolution: int = 8

    folder: ClassVar[str] = "small"
    num_classes: ClassVar[int] = 3
    num_validation: ClassVar[int] = 3


@dataclass(frozen=True)
class SmallTiny(TinyImagenet):
    """The layout of Tiny-ImageNet with three classes."""

    folder: ClassVar[str] = "small"
    num_classes: ClassVar[int] = 3


def draw(path, color):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 12), color).save(path)


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("HUNDREDFOLD_DATA", str(tmp_path))
    for name, color in COLORS.items():
        for number in range(6):
            draw(tmp_path / "small" / "train" / name / f"{number}.png", tuple(max(0, c - number) for c in color))
        for number in range(2):
            draw(tmp_path / "small" / "val" / name / f"{number}.png", color)
    return tmp_path


def arrays(root):
    return sorted(path.name for path in (root / "small" / ".decoded").glob("*"))


def test_folders_become_resized_squares_of_their_class(root):
    train, validation = Small().training()
    assert train.inputs.shape == (15, 3, 8, 8) and train.inputs.dtype == torch.uint8
    assert torch.bincount(validation.targets).tolist() == [1, 1, 1]
    for split in (train, validation, Small().test()):
        assert torch.equal(split.inputs[:, :, 0, 0].argmax(1), split.targets)
    shades = [tuple(image[:, 0, 0].tolist()) for split in (train, validation) for image in split.inputs]
    assert len(set(shades)) == 18  # no image twice, none lost


def test_the_array_is_made_once_and_read_from_then_on(root, monkeypatch):
    first = Small().training()
    assert len(arrays(root)) == 2  # and none of the test split
    _images._training.cache_clear()
    monkeypatch.setattr(_folders, "_pixels", None)
    for before, after in zip(first, Small().training(), strict=True):
        assert torch.equal(before.inputs, after.inputs) and torch.equal(before.targets, after.targets)


def test_another_resolution_or_another_image_makes_another_array(root):
    Small().test()
    Small(resolution=4, crop=1).test()
    draw(root / "small" / "val" / "n01" / "new.png", (9, 9, 9))
    fingerprint = Small().fingerprint()
    assert len(Small().test().inputs) == 7 and len(arrays(root)) == 3
    _folders._listing_digest.cache_clear()
    draw(root / "small" / "val" / "n01" / "newer.png", (9, 9, 9))
    assert Small().fingerprint() != fingerprint


def test_writing_to_a_split_leaves_the_array_as_it_was(root):
    Small().test().inputs.zero_()
    assert Small().test().inputs.max() > 0


def test_a_damaged_image_is_one_sentence_and_leaves_no_array(root):
    path = root / "small" / "val" / "n02" / "1.png"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match="1.png: is not a whole image"):
        Small().test()
    assert arrays(root) == []


def test_a_full_disk_is_one_sentence_and_leaves_no_array(root, monkeypatch):
    def full(path, *args):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np.lib.format, "open_memmap", full)
    with pytest.raises(ValueError, match="cannot be written .No space left on device.; make room"):
        Small().test()
    assert arrays(root) == []


def test_a_damaged_array_is_one_sentence(root):
    Small().test()
    path = next((root / "small" / ".decoded").glob("test-*"))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="is damaged .*; delete it to remake it"):
        Small().test()


def test_missing_and_wrong_folders_are_one_sentence(root):
    with pytest.raises(
        ValueError, match="imagenet/train is missing; .* or ask for access at https://www.image-net.org"
    ):
        Imagenet().training()
    with pytest.raises(ValueError, match="tiny-imagenet-200/train is missing; .*hundredfold data"):
        TinyImagenet().training()
    (root / "small" / "val" / "n03" / "0.png").unlink()
    (root / "small" / "val" / "n03" / "1.png").unlink()
    with pytest.raises(ValueError, match="does not hold one folder of images per class"):
        Small().test()
    draw(root / "small" / "train" / "n04" / "0.png", (1, 1, 1))
    with pytest.raises(ValueError, match="has 4 classes, expected 3"):
        Small().training()


def test_tiny_imagenet_reads_the_classes_of_its_test_images_from_the_table(root):
    rows = []
    for number, (name, color) in enumerate(sorted(COLORS.items(), reverse=True)):
        draw(root / "small" / "val" / "images" / f"val_{number}.JPEG", color)
        rows.append(f"val_{number}.JPEG\t{name}\t0\t0\t62\t62\n")
    (root / "small" / "val" / "val_annotations.txt").write_text("".join(rows))
    test = SmallTiny().test()
    assert test.inputs.shape == (3, 3, 64, 64) and test.targets.tolist() == [2, 1, 0]
    assert torch.equal(test.inputs[:, :, 9, 9].argmax(1), test.targets)
