"""timm's vision transformer, made small enough for 8 x 8 images on one processor core."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from hundredfold.methods.options import Count, Within
from hundredfold.replication.models.base import Model, scaled, scaled_neurons
from hundredfold.replication.pretrained import load_weights

VARIANTS = {
    "tiny": {"dim": 192, "depth": 12, "heads": 3},
    "small": {"dim": 384, "depth": 12, "heads": 6},
    "base": {"dim": 768, "depth": 12, "heads": 12},
}


@dataclass(frozen=True)
class Vit(Model):
    """Vision transformer (timm's class and initialisation), average pooling.

    For CIFAR patch=4 or 2; the published patch for 224 x 224 pixels is 16, with a class token.
    Source: Dosovitskiy et al. 2021, arXiv:2010.11929; tiny and small: Touvron et al. 2021, arXiv:2012.12877.
    """

    patch: Count = 4  # pixels a side: 4 tokens of an 8 x 8 image; patch 2 costs four times as much
    dim: Count = 64  # residual stream
    depth: Count = 2
    heads: Count = 4
    mlp_ratio: Annotated[float, Within(0, low_open=True)] = 4.0  # hidden neurons per residual channel
    variant: Literal["tiny", "small", "base"] | None = None  # published dim, depth and heads
    class_token: bool = False  # one more token, which the head reads in place of the average
    weights: str | None = None  # .safetensors file of timm's weights; theirs want class_token=true

    kinds: ClassVar[tuple[str, ...]] = ("image",)
    small: ClassVar[dict[str, Any]] = {"dim": 32, "depth": 1, "heads": 2}

    def __post_init__(self):
        self.apply_preset("variant", VARIANTS)
        super().__post_init__()
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
            global_pool="token" if self.class_token else "avg",
            class_token=self.class_token,
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
        if self.weights is not None:
            load_weights(network, self.weights, head="head")
        return network
