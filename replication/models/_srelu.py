"""S-shaped rectified linear units, whose two thresholds and two slopes every neuron learns."""

import torch
from torch import nn


class SReLU(nn.Module):
    """The identity between two thresholds, a line of a slope of its own below the left and above the right one.

    Initialised as SET's code does it: left threshold 0 with a slope from U(0, 1), right one from U(0, 5) with slope 1.
    Source: Jin et al. 2015, arXiv:1512.07030; SReLU of keras-contrib.

    Attributes:
        unit_parameters: parameters [features] that hold one number for every neuron.
        t_right: distance of the right threshold from the left one; its sign is ignored.
    """

    unit_parameters = ("t_left", "a_left", "t_right", "a_right")

    def __init__(self, features):
        super().__init__()
        self.t_left = nn.Parameter(torch.zeros(features))
        self.a_left = nn.Parameter(torch.rand(features))
        self.t_right = nn.Parameter(5 * torch.rand(features))
        self.a_right = nn.Parameter(torch.ones(features))

    def forward(self, x):
        right = self.t_left + self.t_right.abs()
        middle = torch.clamp(x, self.t_left, right)
        return middle + self.a_left * (x - self.t_left).clamp(max=0) + self.a_right * (x - right).clamp(min=0)
