"""What ResNet-18 and ResNet-50 share: timm's class, a stem for small images, narrower blocks, weights of a file."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from hundredfold.methods.options import Count
from hundredfold.replication.models._convolution import is_small, out_of_place, resized_conv, resized_norm
from hundredfold.replication.models.base import Model, scaled_neurons
from hundredfold.replication.pretrained import load_weights


@dataclass(frozen=True)
class TimmResnet(Model):
    """A ResNet of timm; its subclasses name one and give the blocks of its stages."""

    blocks: tuple[Count, Count, Count, Count]
    channels: Count = 64  # of the first stage; the others have 2, 4 and 8 times as many
    zero_init: bool = False  # last norm of a block at 0: better alone, but pruning before training finds no signal
    small_stem: bool | None = None  # 3 x 3 pixels without pooling; null: for images up to 64 pixels a side
    weights: str | None = None  # .safetensors file of timm's weights; ImageNet's want small_stem=false

    kinds: ClassVar[tuple[str, ...]] = ("image",)
    architecture: ClassVar[str]  # timm's name

    def construct(self, spec, width):
        import timm  # takes seconds to import

        network = timm.create_model(
            self.architecture,
            num_classes=spec.num_classes,
            in_chans=spec.input_shape[0],
            layers=self.blocks,
            channels=tuple(self.channels * 2**stage for stage in range(4)),
            zero_init_last=self.zero_init,
        )
        small_stem = is_small(spec) if self.small_stem is None else self.small_stem
        if small_stem:
            network.conv1 = nn.Conv2d(spec.input_shape[0], network.conv1.out_channels, 3, padding=1, bias=False)
            network.maxpool = nn.Identity()
        if width != 1:
            for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
                for block in stage:
                    _resize(block, width)
        if small_stem or width != 1:
            network.init_weights(zero_init_last=self.zero_init)
        if self.weights is not None:
            load_weights(network, self.weights, head="fc")
        return out_of_place(network)


def _resize(block, width):
    """Give a block fewer inner channels: the outputs of all its convolutions but the last."""
    last = 3 if hasattr(block, "conv3") else 2
    inputs = block.conv1.in_channels
    for index in range(1, last):
        conv = getattr(block, f"conv{index}")
        inner = scaled_neurons(conv.out_channels, width)
        setattr(block, f"conv{index}", resized_conv(conv, inputs, inner))
        setattr(block, f"bn{index}", resized_norm(getattr(block, f"bn{index}"), inner))
        inputs = inner
    conv = getattr(block, f"conv{last}")
    setattr(block, f"conv{last}", resized_conv(conv, inputs, conv.out_channels))
