"""What the convolutional models share: narrower layers inside a block, and the size of a small image."""

import copy

import torch
from torch import nn

SMALL_IMAGE = 64  # pixels a side; up to here a stem that keeps the resolution, as for CIFAR and Tiny ImageNet


def is_small(spec):
    """Say whether images are too small for a stem that was made for 224 x 224 pixels."""
    return min(spec.input_shape[1:]) <= SMALL_IMAGE


def resized_conv(conv, inputs, outputs):
    """Make a fresh convolution like another with other numbers of channels; depthwise stays depthwise."""
    return nn.Conv2d(
        inputs,
        outputs,
        conv.kernel_size,
        conv.stride,
        conv.padding,
        conv.dilation,
        groups=outputs if conv.groups > 1 else 1,
        bias=conv.bias is not None,
    )


def resized_norm(norm, channels):
    """Make a fresh batch norm like another (with its activation, if it has one) for another number of channels."""
    resized = copy.deepcopy(norm)
    fresh = nn.BatchNorm2d(channels, norm.eps, norm.momentum)
    resized.num_features = channels
    resized._parameters.update(fresh._parameters)
    resized._buffers.update(fresh._buffers)
    return resized


def out_of_place(network):
    """Make activations write new tensors: an output that a hook looks at must not change afterwards."""
    for module in network.modules():
        if getattr(module, "inplace", False):
            module.inplace = False
    return network


def init_he(network, mode="fan_out"):
    """Draw every convolution as He et al. 2015 (arXiv:1502.01852) do for ReLU; biases become 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


class Block(nn.Module):
    """Two convolutions 3 x 3 around the inner channels, added to a shortcut.

    The inner channels are produced by `conv1`, normalised by `bn1` and read by `conv2`, whatever the order of the rest.
    """

    def __init__(self, inputs, inner, outputs, stride, dropout=0.0):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, inner, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.act1 = nn.ReLU()
        self.drop1 = nn.Dropout(dropout) if dropout else nn.Identity()
        self.conv2 = nn.Conv2d(inner, outputs, 3, 1, 1, bias=False)

    def inner(self, x):
        return self.conv2(self.drop1(self.act1(self.bn1(self.conv1(x)))))


class PadShortcut(nn.Module):
    """Every other pixel, with zeros for the channels that are new: option A of He et al. 2015 (arXiv:1512.03385)."""

    def __init__(self, new_channels, stride):
        super().__init__()
        self.new_channels, self.stride = new_channels, stride

    def forward(self, x):
        before = self.new_channels // 2
        x = x[:, :, :: self.stride, :: self.stride]
        return torch.nn.functional.pad(x, (0, 0, 0, 0, before, self.new_channels - before))
