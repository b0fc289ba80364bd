"""MobileNetV2 of timm: inverted residuals around depthwise convolutions, with a stem for small images."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from hundredfold.replication.models._convolution import is_small, out_of_place, resized_conv, resized_norm
from hundredfold.replication.models.base import Model, scaled_neurons
from hundredfold.replication.pretrained import load_weights


@dataclass(frozen=True)
class Mobilenet(Model):
    """MobileNetV2 (timm's class and initialisation, torch's for the classifier).

    Source: Sandler et al. 2018, arXiv:1801.04381.
    """

    multiplier: Literal[0.35, 0.5, 0.75, 1.0, 1.4] = 1.0  # of all channels
    small_stem: bool | None = None  # no halving in the stem nor in the second stage; null: up to 64 pixels a side
    weights: str | None = None  # .safetensors file of timm's mobilenetv2_100 and the like

    kinds: ClassVar[tuple[str, ...]] = ("image",)
    small: ClassVar[dict[str, Any]] = {"multiplier": 0.35}

    def construct(self, spec, width):
        import timm  # takes seconds to import
        from timm.models._efficientnet_builder import efficientnet_init_weights

        name = f"mobilenetv2_{round(100 * self.multiplier):03d}"
        network = timm.create_model(name, num_classes=spec.num_classes, in_chans=spec.input_shape[0])
        if is_small(spec) if self.small_stem is None else self.small_stem:
            network.conv_stem.stride = network.blocks[1][0].conv_dw.stride = (1, 1)
        if width != 1:
            _resize(network, width)
            efficientnet_init_weights(network)
        network.classifier.reset_parameters()  # timm's draw, 1/sqrt(classes), is far too large for ten of them
        if self.weights is not None:
            load_weights(network, self.weights, head="classifier")
        return out_of_place(network)


def _resize(network, width):
    """Give every inverted residual fewer inner channels and the head fewer features."""
    for block in (block for stage in network.blocks for block in stage if hasattr(block, "conv_pwl")):
        inner = scaled_neurons(block.conv_pw.out_channels, width)
        block.conv_pw = resized_conv(block.conv_pw, block.conv_pw.in_channels, inner)
        block.bn1 = resized_norm(block.bn1, inner)
        block.conv_dw = resized_conv(block.conv_dw, inner, inner)
        block.bn2 = resized_norm(block.bn2, inner)
        block.conv_pwl = resized_conv(block.conv_pwl, inner, block.conv_pwl.out_channels)
    features = scaled_neurons(network.num_features, width)
    network.conv_head = resized_conv(network.conv_head, network.conv_head.in_channels, features)
    network.bn2 = resized_norm(network.bn2, features)
    network.classifier = type(network.classifier)(features, network.num_classes)
    network.num_features = network.head_hidden_size = features
