"""timm's vision transformer with masked patches and one forward pass over crops of several sizes.

Parameters have timm's names, which are also those of published iBOT checkpoints; a student has one more,
`masked_embed`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn.functional import linear

from cytobench.errors import UsageError, WeightsError
from cytobench.pretraining.packing import Layout, PackedBlock
from cytobench.pretraining.positions import PositionMode, position_matrix
from cytobench.pretraining.precision import full_precision

MASK = "masked_embed"


@dataclass(frozen=True)
class ViTShape:
    """Which vision transformer is trained, and on crops of which sizes.

    arch: timm name of a plain ViT, e.g. "vit_small_patch16_224"; size: side of global crops in px, which the
    position embeddings are made for; local_sizes: sides of other crops; positions: how position embeddings
    are resized for those; drop_path: the last block's rate of stochastic depth, growing linearly from 0
    (student only); options: further arguments of timm's VisionTransformer.
    """

    arch: str = "vit_small_patch16_224"
    size: int = 224
    local_sizes: tuple[int, ...] = (96,)
    positions: PositionMode = "ibot"
    drop_path: float = 0.1
    options: Mapping[str, Any] = field(default_factory=dict)


class Crops(NamedTuple):
    """Crops of one size: images float [n, 3, s, s] and, where patches are hidden, masks bool [n, N]."""

    images: Tensor
    masks: Tensor | None = None


class Tokens(NamedTuple):
    """Normalised output tokens of crops of one size: cls [n, D] and patches [n, N, D]."""

    cls: Tensor
    patches: Tensor


class MaskedViT(nn.Module):
    """A plain ViT (class token, learned positions, pre-norm) that takes crops of several sizes in one pass.

    `student` adds the mask embedding (zeros) and stochastic depth. Weights are initialised as iBOT does, from
    torch's global generator. Raises UsageError for an architecture that is no plain ViT of timm, or a size
    that its patches do not divide.
    """

    keep_rates: Tensor

    def __init__(self, shape: ViTShape, *, student: bool = True, masked: bool = True) -> None:
        super().__init__()
        vit = _build(shape)
        self.cls_token: nn.Parameter = vit.cls_token
        self.pos_embed: nn.Parameter = vit.pos_embed
        self.patch_embed = vit.patch_embed
        self.blocks = vit.blocks
        self.norm = vit.norm
        self.embed_dim = int(vit.embed_dim)
        self.patch_size = int(vit.patch_embed.patch_size[0])
        self.grid = _grid(shape.size, self.patch_size)
        for parameter in (self.cls_token, self.pos_embed):
            nn.init.trunc_normal_(parameter, std=0.02)  # timm starts class tokens at 1e-6
        self.masked_embed = nn.Parameter(torch.zeros(1, self.embed_dim)) if student and masked else None
        deepest = shape.drop_path if student else 0.0
        last = max(1, len(self.blocks) - 1)
        self.drop_rates = tuple(deepest * depth / last for depth in range(len(self.blocks)))
        keep = 1 - torch.tensor(self.drop_rates)[:, None, None]
        self.register_buffer("keep_rates", keep, persistent=False)
        for side in shape.local_sizes:
            grid = _grid(side, self.patch_size)
            matrix = position_matrix(self.grid, grid, shape.positions).to(torch.get_default_dtype())
            self.register_buffer(f"positions_{grid}", matrix, persistent=False)

    @property
    def patches(self) -> int:
        """Number of patches N of a global crop."""
        return self.grid * self.grid

    def forward(self, groups: Sequence[Crops]) -> list[Tokens]:
        """Return the tokens of each group of crops, in the order given; sizes must have been announced."""
        tokens, layout = self._pack(groups)
        tokens = self._run(tokens, layout, None)
        parts = torch.split(tokens, [images * length for images, length in layout])
        return [
            _as_tokens(part.view(images, length, -1))
            for part, (images, length) in zip(parts, layout, strict=True)
        ]

    def select(self, groups: Sequence[Crops], patch_index: Tensor | None) -> Tensor:
        """Return the class tokens of all crops and some patches of the first group, [crops + P, D].

        patch_index: int64 [P], positions in the first group's flattened [n * N]. Equal to picking them from
        `forward`, but the last block's MLP and all their gradients are computed for these tokens alone.
        """
        tokens, layout = self._pack(groups)
        return self._run(tokens, layout, _rows(layout, patch_index, tokens.device))

    def timm_state(self) -> dict[str, Tensor]:
        """Return the weights under timm's names, without the mask embedding."""
        return {name: value for name, value in self.state_dict().items() if name != MASK}

    def load_timm_state(self, state: Mapping[str, Tensor]) -> None:
        """Take weights of timm or of a published iBOT backbone; the mask embedding stays where none is given.

        Raises WeightsError unless every other name and shape fits exactly.
        """
        given = dict(state)
        if self.masked_embed is None:
            given.pop(MASK, None)
        else:
            given.setdefault(MASK, self.masked_embed.detach())
        own = self.state_dict()
        wrong = sorted(own.keys() ^ given.keys()) or [n for n in own if own[n].shape != given[n].shape]
        if wrong:
            raise WeightsError(
                f"these weights are not of this ViT: '{wrong[0]}' is missing, unknown or of another shape "
                f"({len(wrong)} such names); choose the architecture and image size they were made for."
            )
        self.load_state_dict(given)

    def fit_positions(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights with position embeddings of another square grid resized to this one's."""
        given = dict(state)
        table = given.get("pos_embed")
        grid = 0 if table is None or table.ndim != 3 else math.isqrt(max(0, table.shape[1] - 1))
        if table is not None and grid * grid + 1 == table.shape[1] and grid not in (0, self.grid):
            cls, patches = torch.split(table.double(), [1, grid * grid], dim=1)
            resized = position_matrix(grid, self.grid, "timm") @ patches[0]
            given["pos_embed"] = torch.cat([cls[0], resized])[None].to(table.dtype)
        return given

    def _pack(self, groups: Sequence[Crops]) -> tuple[Tensor, Layout]:
        embedded = [self._embed(crops) for crops in groups]
        layout = tuple((x.shape[0], x.shape[1]) for x in embedded)
        return torch.cat([x.flatten(0, 1) for x in embedded]), layout

    def _run(self, tokens: Tensor, layout: Layout, rows: Tensor | None) -> Tensor:
        """Return all tokens, or those at `rows`, after all blocks and the norm."""
        keep = self._draw_depth(sum(images for images, _ in layout), tokens)
        last = len(self.blocks) - 1
        for i, block in enumerate(self.blocks):
            factor = None if keep is None else keep[i]
            tokens = block(tokens, layout, factor, rows if i == last else None)
        normed: Tensor = self.norm(tokens)
        return normed

    def _embed(self, crops: Crops) -> Tensor:
        """Return tokens [n, 1 + N, D]; masked patches are replaced before positions are added."""
        kernel = self.patch_embed.proj
        x = linear(_cut(crops.images, self.patch_size), kernel.weight.flatten(1), kernel.bias)
        if crops.masks is not None and self.masked_embed is not None:
            x = torch.where(crops.masks[..., None], self.masked_embed.to(x.dtype), x)
        cls_position, patch_positions = torch.split(self.pos_embed[0], [1, self.patches])
        patch_positions = self._resize(patch_positions, crops.images.shape[-1] // self.patch_size)
        cls = (self.cls_token[0] + cls_position).expand(x.shape[0], 1, -1)
        return torch.cat([cls, x + patch_positions], dim=1)

    def _resize(self, positions: Tensor, grid: int) -> Tensor:
        if grid == self.grid:
            return positions
        matrix = getattr(self, f"positions_{grid}", None)
        if matrix is None:
            raise ValueError(f"crops of {grid * self.patch_size} px were not announced in local_sizes")
        with full_precision(positions):
            return torch.mm(matrix, positions)

    def _draw_depth(self, images: int, like: Tensor) -> Tensor | None:
        """Return each block's, branch's and image's factor, [blocks, 2, images], or None for ones."""
        if not self.training or not any(self.drop_rates):
            return None
        draws = torch.rand((len(self.drop_rates), 2, images), device=like.device)
        return (draws < self.keep_rates) / self.keep_rates.to(like.dtype)


def _build(shape: ViTShape) -> Any:
    try:
        vit = timm.create_model(
            shape.arch, num_classes=0, img_size=shape.size, block_fn=PackedBlock, **dict(shape.options)
        )
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise UsageError(f"timm cannot build '{shape.arch}' as a vision transformer: {error}") from error
    if not isinstance(vit, VisionTransformer) or not _is_plain(vit):
        raise UsageError(
            f"'{shape.arch}' is no plain vision transformer; pretraining takes models such as "
            "vit_tiny_patch16_224, vit_small_patch16_224 and vit_base_patch16_224."
        )
    return vit


def _is_plain(vit: Any) -> bool:
    """Whether `MaskedViT` runs all of the network: a class token, learned positions, packed blocks."""
    idle = (vit.norm_pre, vit.patch_drop, vit.fc_norm, vit.head, vit.patch_embed.norm)
    active_attention = ("gate", "norm")
    return (
        vit.cls_token is not None
        and vit.num_prefix_tokens == 1
        and vit.pos_embed is not None
        and vit.pos_embed.shape[1] == vit.patch_embed.num_patches + 1
        and all(isinstance(part, nn.Identity) for part in idle)
        and all(isinstance(block, PackedBlock) for block in vit.blocks)
        and all(
            isinstance(getattr(block.attn, name, None), nn.Identity | None)
            for block in vit.blocks
            for name in active_attention
        )
        and not any(isinstance(part, nn.Dropout) and part.p > 0 for part in vit.modules())
    )


def _grid(size: int, patch: int) -> int:
    if size % patch:
        raise UsageError(f"crops of {size} px cannot be cut into patches of {patch} px; choose a multiple.")
    return size // patch


def _cut(images: Tensor, patch: int) -> Tensor:
    """Cut images [n, c, s, s] into flattened patches [n, N, c * patch * patch], row by row."""
    n, channels, height, width = images.shape
    cut = images.reshape(n, channels, height // patch, patch, width // patch, patch)
    return cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def _rows(layout: Layout, patch_index: Tensor | None, device: torch.device) -> Tensor:
    """Return where in the packed tokens all class tokens and the first group's given patches lie."""
    rows, start = [], 0
    for images, length in layout:
        rows.append(torch.arange(images, device=device) * length + start)
        start += images * length
    if patch_index is not None:
        # every crop up to the patch's own has one class token before its patches
        rows.append(patch_index + patch_index // (layout[0][1] - 1) + 1)
    return torch.cat(rows)


def _as_tokens(x: Tensor) -> Tokens:
    cls, patches = torch.split(x, [1, x.shape[1] - 1], dim=1)
    return Tokens(cls.squeeze(1), patches)
