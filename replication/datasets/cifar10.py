"""CIFAR-10: small colour photographs of animals and vehicles."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hundredfold.replication.datasets._cifar import Cifar
from hundredfold.replication.datasets._files import Download, data_root

FOLDER = "cifar-10-batches-bin"
TEST = f"{FOLDER}/test_batch.bin"
# A copy of the test set in which some images are not exact lists their rows in this file beside it.
INEXACT = f"{FOLDER}/test_batch.inexact.txt"
INEXACT_DIGEST = "sha256:123ca0dad8f960344d9149742165d4215093c84c8c4bdc5922af93b614bdb501"


@dataclass(frozen=True)
class Cifar10(Cifar):
    """Colour photographs, 32 x 32 pixels, 10 classes: 45,000 training, 5,000 validation and 10,000 test images.

    Where `test_batch.inexact.txt` lies beside the test file, that file is the known copy with 20 inexact images, and
    these 20 are left out: 9,980 test images, which moves an accuracy by at most 0.2 points.
    Source: Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images.
    """

    license: ClassVar[str] = "none stated; drawn from 80 Million Tiny Images, which its authors withdrew in 2020"
    source: ClassVar[str] = "https://www.cs.toronto.edu/~kriz/cifar.html"
    splits: ClassVar[str] = "45,000 / 5,000 / 10,000 images"
    files: ClassVar[dict[str, dict[str, str]]] = {
        "train": {
            f"{FOLDER}/data_batch_1.bin": "sha256:cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
            f"{FOLDER}/data_batch_2.bin": "sha256:a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
            f"{FOLDER}/data_batch_3.bin": "sha256:bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
            f"{FOLDER}/data_batch_4.bin": "sha256:014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
            f"{FOLDER}/data_batch_5.bin": "sha256:755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
        },
        "test": {TEST: "sha256:8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"},
    }
    downloads: ClassVar[tuple[Download, ...]] = (
        Download(
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            "cifar-10-binary.tar.gz",
            "sha256:c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            170_052_171,
            (*files["train"], TEST),
        ),
    )
    num_classes: ClassVar[int] = 10
    num_label_bytes: ClassVar[int] = 1

    def records(self, path, digest):
        inexact = data_root() / INEXACT
        if path != TEST or not inexact.exists():
            return super().records(path, digest)
        rows = [int(row) for row in inexact.read_text().split()]
        return np.delete(super().records(path, INEXACT_DIGEST), rows, axis=0)
