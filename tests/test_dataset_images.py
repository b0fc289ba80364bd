"""Image sets: read from small files made here, augmented and standardised in batches; known figures where they lie."""

import gzip
import hashlib
import io
import os
import struct
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import scipy.io
import torch

from hundredfold.replication import registry
from hundredfold.replication.datasets import _cifar, _idx, _images, cifar10, svhn
from hundredfold.replication.datasets._files import Download
from hundredfold.replication.datasets.base import Dataset, Seen, sealed

DATASETS = registry.discover("hundredfold.replication.datasets", Dataset)
IMAGES = np.random.default_rng(0).integers(0, 256, (60, 6, 6), dtype=np.uint8)
CLASSES = (np.arange(60) % 3).astype(np.uint8)
FIRST = Seen(torch.arange(60), torch.zeros(60, dtype=torch.long))


def idx(array):
    """A gzipped IDX file."""
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}i", *array.shape)
    return gzip.compress(header + array.tobytes(), mtime=0)


@dataclass(frozen=True)
class Small(_idx.IdxImages):
    """60 grey images of 6 x 6 pixels in 3 classes; 6 of the 40 training images are held out."""

    size: ClassVar[int] = 6
    num_classes: ClassVar[int] = 3
    num_validation: ClassVar[int] = 6
    arrays_stored: ClassVar = (IMAGES[:40], CLASSES[:40], IMAGES[40:], CLASSES[40:])
    downloads: ClassVar[tuple[Download, ...]] = tuple(
        Download("https://example.org", f"small/{n}.gz", f"md5:{hashlib.md5(idx(array)).hexdigest()}", 1)
        for n, array in enumerate(arrays_stored)
    )


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("HUNDREDFOLD_DATA", str(tmp_path))
    (tmp_path / "small").mkdir()
    for item, array in zip(Small.downloads, Small.arrays_stored, strict=True):
        (tmp_path / item.path).write_bytes(idx(array))
    return tmp_path


def test_idx_files_are_read_as_they_were_written(root):
    test = Small().test()
    assert test.inputs.shape == (20, 1, 6, 6) and test.inputs.dtype == torch.uint8
    assert np.array_equal(test.inputs[:, 0], IMAGES[40:]) and np.array_equal(test.targets, CLASSES[40:])


def test_validation_is_a_fixed_stratified_part_of_the_training_images(root):
    train, validation = Small().training()
    assert torch.bincount(validation.targets).tolist() == [2, 2, 2]
    stored = {image.tobytes() for image in IMAGES[:40]}
    parts = [{image.numpy().tobytes() for image in split.inputs} for split in (train, validation)]
    assert parts[0] | parts[1] == stored and not parts[0] & parts[1]
    first = [hashlib.sha256(image.tobytes()).digest() for image in IMAGES[:40][CLASSES[:40] == 0]]
    held = [hashlib.sha256(image.numpy().tobytes()).digest() for image in validation.inputs[validation.targets == 0]]
    assert sorted(held) == sorted(first)[:2]


def test_training_does_not_need_the_test_files(root):
    for item in Small.downloads[2:]:
        (root / item.path).unlink()
    with sealed():
        Small().training()
    with pytest.raises(ValueError, match="2.gz is missing"):
        Small().test()


def test_prepare_standardises_by_the_training_pixels(root):
    train, validation = Small().training()
    inputs, targets = Small().prepare(train.inputs, train.targets)
    assert inputs.dtype == torch.float32 and targets is train.targets
    assert abs(inputs.mean().item()) < 1e-5 and abs(inputs.std(correction=0).item() - 1) < 1e-5
    pixels = train.inputs.double()
    expected = (validation.inputs - pixels.mean()) / pixels.std(correction=0)
    assert torch.allclose(Small().prepare(*validation)[0].double(), expected, atol=1e-5)


def test_resolution_resizes_once_when_read(root):
    data = Small(resolution=4)
    assert data.spec().input_shape == (1, 4, 4) and data.test().inputs.shape == (20, 1, 4, 4)
    assert data.test().inputs.dtype == torch.uint8
    assert data.training()[0].inputs.shape == (34, 1, 4, 4)
    before = Small().training()[1].inputs.float().mean((1, 2, 3))
    assert torch.allclose(before, data.training()[1].inputs.float().mean((1, 2, 3)), atol=25)


def test_augmentation_draws_only_from_its_generator(root):
    data, inputs = Small(flip=True, crop=2), torch.from_numpy(IMAGES)[:, None]
    state = torch.get_rng_state()
    first, again, other = (data.augment(inputs, FIRST, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.dtype == torch.uint8 and first.shape == inputs.shape


def test_every_augmented_image_is_a_padded_crop_perhaps_mirrored():
    data, inputs = Small(flip=True, crop=1), torch.from_numpy(IMAGES)[:, None]
    seen = set()
    for image, result in zip(inputs, data.augment(inputs, FIRST, torch.Generator().manual_seed(3)), strict=True):
        padded = torch.zeros(1, 8, 8, dtype=torch.uint8)
        padded[:, 1:7, 1:7] = image
        variants = {
            (dy, dx, mirrored): (window.flip(-1) if mirrored else window)
            for dy in range(3)
            for dx in range(3)
            for mirrored in (False, True)
            for window in (padded[:, dy : dy + 6, dx : dx + 6],)
        }
        found = [key for key, variant in variants.items() if torch.equal(variant, result)]
        assert len(found) == 1
        seen |= set(found)
    assert len(seen) > 12  # of 18, in 60 draws


def test_alternating_flips_mirror_every_image_in_every_other_epoch(root):
    data, inputs = Small(flip="alternating"), torch.from_numpy(IMAGES)[:, None]
    rows, generator = torch.arange(len(inputs)), torch.Generator()
    epochs = [data.augment(inputs, Seen(rows, torch.full_like(rows, epoch)), generator) for epoch in range(3)]
    assert torch.equal(epochs[0], epochs[2]) and torch.equal(epochs[1], epochs[0].flip(-1))
    same = [torch.equal(image, result) for image, result in zip(inputs, epochs[0], strict=True)]
    assert 0.3 < sum(same) / len(same) < 0.7


def test_without_flip_and_crop_nothing_is_drawn_or_copied():
    generator = torch.Generator().manual_seed(0)
    state, inputs = generator.get_state(), torch.from_numpy(IMAGES)[:, None]
    assert Small().augment(inputs, FIRST, generator) is inputs and torch.equal(state, generator.get_state())


@pytest.mark.parametrize("part, message", [("short", "MD5 differs"), ("other", "MD5 differs")])
def test_a_changed_file_is_one_sentence(root, part, message):
    path = root / Small.downloads[0].path
    path.write_bytes(path.read_bytes()[:-20] if part == "short" else idx(IMAGES[20:]))
    with pytest.raises(ValueError, match=f"0.gz is not the original file .{message}.; delete it and fetch it again"):
        replace(Small(), scenario_seed=7).training()


def test_a_cut_off_gzip_without_a_known_checksum_is_one_sentence(root):
    path = root / "small" / "0.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="is not the original file .*end-of-stream"):
        _idx.read_idx("small", "small/0.gz")


@pytest.mark.parametrize("data", [b"", b"\0\0\x08\x03\0\0", b"P5 6 6", idx(IMAGES)])
def test_a_file_that_is_not_idx_is_one_sentence(root, data):
    (root / "small" / "0.gz").write_bytes(gzip.compress(data))
    with pytest.raises(ValueError, match="is not an IDX file of bytes"):
        _idx.read_idx("small", "small/0.gz")


@pytest.mark.parametrize(
    "options, message",
    [
        ({"resolution": 2}, r"resolution=2: expected pixels in \[4, 1024\]"),
        ({"crop": 6}, "crop=6: expected 0 to 5 pixels"),
        ({"crop": 4, "resolution": 4}, "crop=4: expected 0 to 3 pixels"),
    ],
)
def test_an_image_option_out_of_range_is_one_sentence(options, message):
    with pytest.raises(ValueError, match=message):
        Small(**options)


def test_emnist_is_upright_and_its_letters_start_at_zero(root):
    folder = root / "EMNIST" / "raw" / "gzip"
    folder.mkdir(parents=True)
    image = np.zeros((26, 28, 28), np.uint8)
    image[:, 0, 27] = 255  # stored at the end of the first row: upright, at the foot of the first column
    for what, array in (("images-idx3", image), ("labels-idx1", np.arange(1, 27, dtype=np.uint8))):
        (folder / f"emnist-letters-test-{what}-ubyte.gz").write_bytes(idx(array))
    test = DATASETS["emnist"](subset="letters").test()
    assert test.inputs[0, 0, 27, 0] == 255 and test.targets.tolist() == list(range(26))


def test_cifar_records_are_planes_after_labels(root):
    @dataclass(frozen=True)
    class Few(_cifar.Cifar):
        num_classes: ClassVar[int] = 3
        num_label_bytes: ClassVar[int] = 2
        files: ClassVar = {"test": {"few.bin": None}}

    records = np.random.default_rng(0).integers(0, 3, (5, 2 + 3072), dtype=np.uint8)
    records.tofile(root / "few.bin")
    test = Few().test()
    assert np.array_equal(test.targets, records[:, 1])
    assert test.inputs[4, 2, 1, 0] == records[4, 2 + 2 * 1024 + 32]
    (root / "few.bin").write_bytes(records.tobytes()[:-1])
    with pytest.raises(ValueError, match="few.bin is cut off; delete it"):
        Few().test()


def test_inexact_test_images_of_cifar10_are_left_out_where_they_are_listed(root, monkeypatch):
    records = np.zeros((10, 3073), np.uint8)
    records[:, 0] = np.arange(10)
    (root / cifar10.FOLDER).mkdir()
    records.tofile(root / cifar10.TEST)
    with pytest.raises(ValueError, match="SHA256 differs"):
        cifar10.Cifar10().test()
    (root / cifar10.INEXACT).write_text("2\n5\n")
    monkeypatch.setattr(cifar10, "INEXACT_DIGEST", f"sha256:{hashlib.sha256(records.tobytes()).hexdigest()}")
    assert cifar10.Cifar10().test().targets.tolist() == [0, 1, 3, 4, 6, 7, 8, 9]


def test_svhn_labels_its_zeros_ten(root, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 4), dtype=np.uint8)
    file = io.BytesIO()
    scipy.io.savemat(file, {"X": pixels, "y": np.array([[10], [1], [9], [10]], np.uint8)})
    (root / "svhn").mkdir()
    (root / "svhn" / "test_32x32.mat").write_bytes(file.getvalue())
    digest = f"md5:{hashlib.md5(file.getvalue()).hexdigest()}"
    monkeypatch.setitem(svhn.FILES, "test", svhn.FILES["test"]._replace(digest=digest))
    test = svhn.Svhn().test()
    assert test.targets.tolist() == [0, 1, 9, 0] and test.inputs[3, 2, 0, 1] == pixels[0, 1, 2, 3]


# ---- the real data, where they lie ----------------------------------------------------------------------------------
KNOWN = {  # name -> sizes, mean and deviation of the 50,000 or 60,000 published training images, pixels in [0, 1]
    "mnist": ((55_000, 5_000, 10_000), [0.1307], [0.3081]),
    "fashion_mnist": ((55_000, 5_000, 10_000), [0.2860], [0.3530]),
    "cifar10": ((45_000, 5_000, 10_000), [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_figures_of_the_published_sets(name):
    data = DATASETS[name]()
    if not os.environ.get("HUNDREDFOLD_DATA") or not data.present():
        pytest.skip(f"dataset={name}: its files are not in HUNDREDFOLD_DATA")
    sizes, mean, deviation = KNOWN[name]
    train, validation = data.training()
    test = data.test()
    inexact = 20 if name == "cifar10" and len(test.targets) == 9980 else 0
    assert (len(train.targets), len(validation.targets), len(test.targets) + inexact) == sizes
    pixels = np.concatenate([split.inputs.numpy() for split in (train, validation)])
    values = np.arange(256) / 255
    for channel in range(pixels.shape[1]):
        share = np.bincount(pixels[:, channel].ravel(), minlength=256) / pixels[:, channel].size
        center = (share * values).sum()
        assert center == pytest.approx(mean[channel], abs=6e-5)
        assert (share * (values - center) ** 2).sum() ** 0.5 == pytest.approx(deviation[channel], abs=6e-5)
    if name != "mnist":
        assert set(torch.bincount(train.targets).tolist()) == {sizes[0] // 10}
        assert set(torch.bincount(validation.targets).tolist()) == {500}
    _images._training.cache_clear()


def test_known_figures_of_madelon():
    data = DATASETS["madelon"]()
    if not data.present():
        pytest.skip("dataset=madelon: its files are not in HUNDREDFOLD_DATA")
    train, validation = data.training()
    counts = [torch.bincount(split.targets).tolist() for split in (train, validation, data.test())]
    assert counts == [[800, 800], [200, 200], [300, 300]]
    assert abs(train.inputs.mean().item()) < 1e-6 and train.inputs.std(0, correction=0).sub(1).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("examples", "first", "classes"),  # of the authors' package, mnist1d 0.0.2.post1
    [
        (5000, [-0.33200567, -0.47191037, -0.77869708, -1.00974083], [2, 6, 4, 5, 6, 6, 6, 0]),
        (16000, [0.19054257, -0.06464255, -0.01249711, 0.1193443], [5, 6, 2, 6, 8, 3, 2, 0]),
    ],
)
def test_examples_of_mnist1d_are_the_authors_own(examples, first, classes):
    data = DATASETS["mnist1d"](examples=examples)
    train, validation = data.training()
    test = data.test()
    assert train.targets[:8].tolist() == classes
    torch.testing.assert_close(train.inputs[0, 0, 0, :4], torch.tensor(first))
    assert [len(split.targets) for split in (train, validation, test)] == [4000, 1000, examples - 4000]
    shuffled = DATASETS["mnist1d"](examples=examples, shuffled=True).test()
    assert not shuffled.inputs.equal(test.inputs)
    assert shuffled.inputs.sort(-1).values.equal(test.inputs.sort(-1).values)  # a permutation, of the numbers alone
    spread, ours = (split.inputs.view(-1, 40).std(0).sort().values for split in (test, shuffled))
    torch.testing.assert_close(spread, ours)  # the same one for all examples
