"""Tiny-ImageNet: two hundred classes of ImageNet at 64 x 64 pixels."""

from dataclasses import dataclass
from typing import ClassVar

from hundredfold.replication.datasets._files import Download, found
from hundredfold.replication.datasets._folders import FolderImages


@dataclass(frozen=True)
class TinyImagenet(FolderImages):
    """Colour photographs, 64 x 64 pixels, 200 classes: 90,000 training, 10,000 validation and 10,000 test images.

    Test is the published validation part, as everywhere: the labels of the published test part were never released.
    Source: Le and Yang 2015, Tiny ImageNet Visual Recognition Challenge.
    """

    license: ClassVar[str] = "ImageNet's terms of access: non-commercial research and education"
    source: ClassVar[str] = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
    splits: ClassVar[str] = "90,000 / 10,000 / 10,000 images"
    folder: ClassVar[str] = "tiny-imagenet-200"
    downloads: ClassVar[tuple[Download, ...]] = (
        Download(
            "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
            "tiny-imagenet-200.zip",
            "md5:90528d7ca1a48142e341f4ef8d21d0de",
            248_100_043,
            ("tiny-imagenet-200/train", "tiny-imagenet-200/val"),
        ),
    )
    num_classes: ClassVar[int] = 200
    num_validation: ClassVar[int] = 10_000

    def listed(self, part):
        if part == "train":
            return super().listed(part)
        # The test images lie in one folder; a table names the class of each.
        table = found(self.name(), f"{self.folder}/val/val_annotations.txt").read_text()
        classes = sorted({path.split("/")[1] for path, _ in super().listed("train")})
        numbers = {name: number for number, name in enumerate(classes)}
        rows = sorted(line.split("\t")[:2] for line in table.splitlines())
        return [(f"val/images/{image}", numbers[name]) for image, name in rows]
