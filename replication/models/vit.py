"""timm's vision transformer, made small enough for 8 x 8 images on one processor core."""

from dataclasses import dataclass
from typing import ClassVar

from replication.models.base import Model, scaled, scaled_neurons


@dataclass(frozen=True)
class Vit(Model):
    """Vision transformer (timm's class and initialisation), average pooling.

    Source: Dosovitskiy et al. 2021, arXiv:2010.11929.
    """

    patch: int = 4  # pixels a side: 4 tokens of an 8 x 8 image; patch 2 costs four times as much
    dim: int = 64  # residual stream
    depth: int = 2
    heads: int = 4
    mlp_ratio: float = 4.0  # hidden neurons per residual channel

    kinds: ClassVar[tuple[str, ...]] = ("image",)

    def __post_init__(self):
        self.check_positive("patch", "dim", "depth", "heads")
        if self.dim % self.heads:
            raise ValueError(f"heads={self.heads}: expected a divisor of dim={self.dim}")
        if self.mlp_ratio * self.dim < 1:
            raise ValueError(f"mlp_ratio={self.mlp_ratio}: expected at least 1/dim={1 / self.dim}")

    def construct(self, spec, width):
        from timm.layers import Attention  # takes seconds to import
        from timm.models.vision_transformer import VisionTransformer

        channels, height, breadth = spec.input_shape
        if height % self.patch or breadth % self.patch:
            raise ValueError(f"patch={self.patch}: expected a divisor of the image's sides, {height} and {breadth}")
        hidden = scaled_neurons(int(self.dim * self.mlp_ratio), width)
        network = VisionTransformer(
            img_size=(height, breadth),
            patch_size=self.patch,
            in_chans=channels,
            num_classes=spec.num_classes,
            global_pool="avg",
            class_token=False,
            embed_dim=self.dim,
            depth=self.depth,
            num_heads=self.heads,
            mlp_ratio=(hidden + 0.5) / self.dim,  # timm rounds the product down: half a neuron guards the fraction
        )
        heads = scaled(self.heads, width)
        if heads != self.heads:  # timm's constructor ties the size of a head to the number of heads
            for block in network.blocks:
                block.attn = Attention(self.dim, heads, attn_head_dim=self.dim // self.heads, qkv_bias=True)
            network.init_weights()
        return network
