"""One training step of iBOT as CytoBench takes it, as bytedance/ibot does, and as lightly's parts do.

All start from the weights of one model, see the same crops and masks, and take the rates of one timetable, so
that their losses can be compared. The other two are imported from where the user has them.
"""

from __future__ import annotations

import ast
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import timm
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional

from cytobench.pretraining import masking, optim
from cytobench.pretraining.build import Rates, make_model, make_optimizer
from cytobench.pretraining.ibot import IBOT, Masks
from cytobench.pretraining.recipe import Recipe


@dataclass(frozen=True)
class Batch:
    """Ready crops, crop-major, and masks: float [G * B, 3, s, s], [L * B, 3, t, t], bool [G * B, h, w]."""

    global_crops: Tensor
    local_crops: Tensor
    masks: Tensor
    indexed: Masks


class Step(Protocol):
    """A training step: forward, loss, backward, clipping, freezing, optimiser, teacher."""

    def __call__(self, batch: Batch, rates: Rates) -> Tensor:
        """Take one step and return its loss, 0-d and without gradient."""


def make_batch(recipe: Recipe, *, grid: int, images: int, seed: int, device: torch.device) -> Batch:
    """Return smooth random pictures, an image's crops alike, and masks of grid x grid patches."""
    crops, rng = recipe.crops, torch.Generator().manual_seed(seed)
    coarse = torch.randn((images, 3, 12, 12), generator=rng)

    def views(count: int, size: int) -> Tensor:
        varied = coarse.repeat(count, 1, 1, 1)
        varied = (varied + 0.5 * torch.randn(varied.shape, generator=rng)).to(device)
        return functional.interpolate(varied, (size, size), mode="bicubic")

    rng_masks = np.random.default_rng(seed)
    masks = masking.draw(recipe.masking, crops.global_count * images, (grid, grid), rng_masks)
    return Batch(
        global_crops=views(crops.global_count, crops.global_size),
        local_crops=views(crops.local_count, crops.local_size),
        masks=torch.from_numpy(masks).to(device),
        indexed=Masks(*(part.to(device) for part in Masks.of(masking.index_masks(masks)))),
    )


class CytoBenchStep:
    """CytoBench's step, exact iBOT: the patches' centre is the mean over all of them."""

    def __init__(
        self, recipe: Recipe, device: torch.device, *, low: bool = False, compiled: bool = False
    ) -> None:
        self.schedule, self.low = recipe.schedule, low
        self.model = make_model(recipe).to(device).train()
        self.optimizer = make_optimizer(self.model, recipe)
        if compiled:
            self.model.compile_parts()

    def __call__(self, batch: Batch, rates: Rates) -> Tensor:
        """Take one step and return its loss."""
        loss = self.forward(batch, rates)
        self.backward(loss)
        self.update(rates)
        return loss.detach()

    def forward(self, batch: Batch, rates: Rates) -> Tensor:
        crops = batch.global_crops
        with torch.autocast(crops.device.type, dtype=torch.bfloat16, enabled=self.low):
            losses = self.model(crops, batch.local_crops, batch.indexed, rates.temperatures(crops))
        total: Tensor = losses["total"]
        return total

    def backward(self, loss: Tensor) -> None:
        torch.autograd.backward(loss)

    def update(self, rates: Rates) -> None:
        student = self.model.student
        optim.set_rates(self.optimizer, lr=rates.lr, weight_decay=rates.weight_decay)
        optim.clip_each(student.parameters(), self.schedule.clip)
        optim.freeze_last_layer(student, epoch=rates.epoch, epochs=self.schedule.freeze_last_layer_epochs)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.model.ema_update(rates.momentum)


class ReferenceStep:
    """The published step on one device: its networks, loss, clipping and teacher, without its data and log.

    half: float16 with a scaled loss, as its script trains on a GPU. Needs a process group (`alone`).
    """

    def __init__(
        self, model: IBOT, recipe: Recipe, device: torch.device, checkout: Path, *, half: bool = False
    ) -> None:
        if str(checkout) not in sys.path:
            sys.path.insert(0, str(checkout))
        import utils

        self.recipe, self.utils, self.half = recipe, utils, half
        self.student = _published_network(model, recipe, masked=True).to(device)
        self.teacher = _published_network(model, recipe, masked=False).to(device).requires_grad_(False)
        schedule, crops, head = recipe.schedule, recipe.crops, recipe.head
        self.loss_of = _published_loss(checkout)(
            head.out_dim, head.patch_prototypes, crops.global_count, crops.local_count,
            schedule.warmup_temperature, schedule.temperature,
            schedule.warmup_patch_temperature, schedule.patch_temperature,
            schedule.temperature_epochs, schedule.epochs,
        ).to(device)  # fmt: skip
        self.optimizer = torch.optim.AdamW(utils.get_params_groups(self.student))
        self.scaler = torch.amp.GradScaler(device.type, enabled=half)
        followed = dict(self.student.named_parameters())
        self.pairs = [(followed[name], p) for name, p in self.teacher.named_parameters()]

    def __call__(self, batch: Batch, rates: Rates) -> Tensor:
        """Take one step and return its loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = rates.lr
        self.optimizer.param_groups[0]["weight_decay"] = rates.weight_decay
        with torch.autocast(batch.masks.device.type, dtype=torch.float16, enabled=self.half):
            loss: Tensor = self._loss(batch, rates.epoch)
        self.optimizer.zero_grad()
        torch.autograd.backward(self.scaler.scale(loss))
        self.scaler.unscale_(self.optimizer)
        schedule = self.recipe.schedule
        self.utils.clip_gradients(self.student, schedule.clip)
        self.utils.cancel_gradients_last_layer(rates.epoch, self.student, schedule.freeze_last_layer_epochs)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        with torch.no_grad():
            for new, old in self.pairs:
                old.mul_(rates.momentum).add_((1 - rates.momentum) * new)
        return loss.detach()

    def _loss(self, batch: Batch, epoch: int) -> Any:
        crops = self.recipe.crops
        global_crops = list(batch.global_crops.chunk(crops.global_count))
        masks = list(batch.masks.chunk(crops.global_count))
        taught = self.teacher(global_crops)
        learnt = self.student(global_crops, mask=masks)
        self.student.backbone.masked_im_modeling = False
        local = self.student(list(batch.local_crops.chunk(crops.local_count)))[0]
        self.student.backbone.masked_im_modeling = True
        return self.loss_of(learnt, taught, local, masks, epoch)["loss"]


class LightlyStep:
    """A step of lightly's ViT, heads and losses, put together as its own iBOT example and benchmark do.

    Not quite the same loss: its patch centre is the mean over masked patches, and it resizes the position
    embeddings of local crops in timm's way. Without LayerScale and with linear-layer groups, as the others.
    """

    def __init__(self, model: IBOT, recipe: Recipe, device: torch.device, *, compiled: bool = False) -> None:
        from lightly.loss import DINOLoss, IBOTPatchLoss

        self.recipe = recipe
        self.student = _lightly_network(model, recipe).to(device)
        self.teacher = _lightly_network(model, recipe).to(device).requires_grad_(False).eval()
        if compiled:
            for network in (self.student, self.teacher):
                for block in network["backbone"].vit.blocks:
                    block.compile()
        self.cls_loss = DINOLoss(output_dim=recipe.head.out_dim).to(device)
        self.patch_loss = IBOTPatchLoss(output_dim=recipe.head.out_dim).to(device)
        self.optimizer = torch.optim.AdamW(optim.parameter_groups(self.student))

    def __call__(self, batch: Batch, rates: Rates) -> Tensor:
        """Take one step and return its loss."""
        from lightly.models.utils import update_momentum

        loss = self._loss(batch, rates)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.student.parameters(), self.recipe.schedule.clip)
        optim.set_rates(self.optimizer, lr=rates.lr, weight_decay=rates.weight_decay)
        optim.freeze_last_layer(
            self.student, epoch=rates.epoch, epochs=self.recipe.schedule.freeze_last_layer_epochs
        )
        self.optimizer.step()
        self.optimizer.zero_grad()
        update_momentum(self.student, self.teacher, m=rates.momentum)
        return loss.detach()

    def _loss(self, batch: Batch, rates: Rates) -> Tensor:
        crops = self.recipe.crops
        hidden = functional.pad(batch.masks.flatten(1), (1, 0))  # the class token is never hidden
        head = self.student["head"]
        with torch.no_grad():
            tokens = self.teacher["backbone"].encode(batch.global_crops)
            cls, patches = (self.teacher["head"](part) for part in (tokens[:, 0], tokens[hidden]))
        seen = self.student["backbone"].encode(batch.global_crops, mask=hidden)
        local = self.student["backbone"].encode(batch.local_crops)
        scores = torch.cat([head(seen[:, 0]), head(local[:, 0])])
        on_cls: Tensor = self.cls_loss(
            list(cls.chunk(crops.global_count)),
            list(scores.chunk(crops.global_count + crops.local_count)),
            teacher_temp=rates.temperature,
        )
        on_patches: Tensor = self.patch_loss(
            patches, head(seen[hidden]), batch.masks, teacher_temp=rates.patch_temperature
        )
        return on_cls + on_patches


@contextmanager
def alone(device: torch.device) -> Iterator[None]:
    """Open a process group of one for the block: the published loss sums over processes, even over one."""
    with tempfile.TemporaryDirectory() as folder:
        store = (Path(folder) / "store").as_uri()
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, init_method=store, rank=0, world_size=1)
        try:
            yield
        finally:
            dist.destroy_process_group()


def _published_loss(checkout: Path) -> Any:
    """Return the class iBOTLoss without running the rest of the training script."""
    source = (checkout / "main_ibot.py").read_text(encoding="utf-8")
    (node,) = [n for n in ast.parse(source).body if isinstance(n, ast.ClassDef) and n.name == "iBOTLoss"]
    names: dict[str, Any] = {"nn": nn, "torch": torch, "F": functional, "np": np, "dist": dist}
    exec(compile(ast.Module([node], []), "main_ibot.py", "exec"), names)
    return names["iBOTLoss"]


def _published_network(model: IBOT, recipe: Recipe, *, masked: bool) -> Any:
    """Return the published student (masked) or teacher with the model's weights."""
    import utils
    from models.head import iBOTHead
    from models.vision_transformer import VisionTransformer

    own, head = model.student.backbone, recipe.head
    backbone = VisionTransformer(
        img_size=[recipe.crops.global_size], patch_size=own.patch_size, embed_dim=own.embed_dim,
        depth=len(own.blocks), num_heads=own.blocks[0].attn.num_heads, qkv_bias=True,
        drop_path_rate=recipe.network.drop_path if masked else 0.0,
        return_all_tokens=True, masked_im_modeling=masked,
    )  # fmt: skip
    published_head = iBOTHead(
        own.embed_dim, head.out_dim, patch_out_dim=head.patch_prototypes, hidden_dim=head.hidden_dim,
        bottleneck_dim=head.bottleneck_dim, norm_last_layer=head.norm_last_layer, shared_head=head.shared,
    )  # fmt: skip
    network = utils.MultiCropWrapper(backbone, published_head)
    state = model.student.state_dict()
    if not masked:
        del state["backbone.masked_embed"]
    network.load_state_dict(state)
    return network


def _lightly_network(model: IBOT, recipe: Recipe) -> Any:
    """Return lightly's backbone and head with the model's weights; its mask token is zeros, as ours."""
    from lightly.models.modules import DINOProjectionHead, MaskedVisionTransformerTIMM

    own, shape = model.student, recipe.head
    vit: Any = timm.create_model(
        recipe.network.arch, num_classes=0, img_size=recipe.crops.global_size, dynamic_img_size=True,
        drop_path_rate=recipe.network.drop_path, **recipe.network.options,
    )  # fmt: skip
    vit.load_state_dict(own.backbone.timm_state())
    backbone = MaskedVisionTransformerTIMM(
        vit, antialias=False, weight_initialization="skip", pos_embed_initialization="skip"
    )
    head = DINOProjectionHead(
        own.backbone.embed_dim, shape.hidden_dim, shape.bottleneck_dim, shape.out_dim,
        norm_last_layer=shape.norm_last_layer,
    )  # fmt: skip
    named = own.head.state_dict()
    head.load_state_dict(
        {
            name.replace("mlp.", "layers."): value
            for name, value in named.items()
            if not name.startswith("last_layer2.")
        }
    )
    return nn.ModuleDict({"backbone": backbone, "head": head})
