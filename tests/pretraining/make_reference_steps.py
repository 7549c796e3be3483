"""Write reference_steps.json: three training steps of bytedance/ibot (Apache-2.0) that ours must repeat.

Everything is float64 on one CPU, with weights and images made by formula (tiny_ibot.py). Needs a checkout of
github.com/bytedance/ibot at da316d8, which neither CytoBench nor its tests need:

    PYTHONPATH=. python tests/pretraining/make_reference_steps.py PATH-OF-THE-CHECKOUT
"""

from __future__ import annotations

import ast
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tiny_ibot
import torch
import torch.distributed as dist
from reference_recipe import RECIPE, images, tokens
from torch import nn
from torch.nn import functional


def reference_loss(checkout: Path) -> Any:
    """Return the class iBOTLoss without running the rest of the training script."""
    source = (checkout / "main_ibot.py").read_text(encoding="utf-8")
    (node,) = [n for n in ast.parse(source).body if isinstance(n, ast.ClassDef) and n.name == "iBOTLoss"]
    names: dict[str, Any] = {"nn": nn, "torch": torch, "F": functional, "np": np, "dist": dist}
    exec(compile(ast.Module([node], []), "main_ibot.py", "exec"), names)
    return names["iBOTLoss"]


def network(shared: bool, masked: bool) -> nn.Module:
    import utils
    from models.head import iBOTHead
    from models.vision_transformer import VisionTransformer

    backbone = VisionTransformer(
        img_size=[32], patch_size=8, embed_dim=32, depth=2, num_heads=2, qkv_bias=True,
        return_all_tokens=True, masked_im_modeling=masked,
    )  # fmt: skip
    head = iBOTHead(
        32, 24, patch_out_dim=20, hidden_dim=40, bottleneck_dim=12, norm_last_layer=False, shared_head=shared
    )
    return utils.MultiCropWrapper(backbone, head).double()


def run(checkout: Path, shared: bool) -> dict[str, Any]:
    import utils

    student, teacher = network(shared, masked=True), network(shared, masked=False)
    tiny_ibot.fill_by_formula(student)
    teacher.load_state_dict(student.state_dict(), strict=False)
    teacher.requires_grad_(False)
    loss_of = reference_loss(checkout)(
        24, 24 if shared else 20, 2, 2, 0.04, 0.07, 0.05, 0.08, RECIPE.warmup_epochs, RECIPE.epochs
    ).double()
    optimizer = torch.optim.AdamW(utils.get_params_groups(student), lr=RECIPE.lr)
    optimizer.param_groups[0]["weight_decay"] = RECIPE.weight_decay
    history = []
    for step in range(RECIPE.steps):
        masks = [torch.from_numpy(m).view(-1, 4, 4) for m in np.split(tokens(step), 2)]
        global_crops, local_crops = (list(x.chunk(2)) for x in images(step))
        taught = teacher(global_crops)
        student.backbone.masked_im_modeling = True
        learnt = student(global_crops, mask=masks)
        student.backbone.masked_im_modeling = False
        losses = loss_of(learnt, taught, student(local_crops)[0], masks, step)
        optimizer.zero_grad()
        losses["loss"].backward()
        utils.clip_gradients(student, RECIPE.clip)
        utils.cancel_gradients_last_layer(step, student, RECIPE.freeze_epochs)
        optimizer.step()
        pairs = dict(student.named_parameters())
        for name, parameter in teacher.named_parameters():
            parameter.data.mul_(RECIPE.momentum).add_((1 - RECIPE.momentum) * pairs[name].detach())
        history.append({"cls": losses["cls"].item(), "patch": losses["patch"].item()})
    return {
        "losses": history,
        "student": tiny_ibot.checksums(student),
        "teacher": tiny_ibot.checksums(teacher),
        "center": loss_of.center.flatten().tolist(),
        "center2": loss_of.center2.flatten().tolist(),
    }


def main(checkout: Path) -> None:
    sys.path.insert(0, str(checkout))
    store = Path(tempfile.mkdtemp()) / "store"
    dist.init_process_group("gloo", init_method=store.as_uri(), rank=0, world_size=1)
    document = {
        "made_by": f"make_reference_steps.py with bytedance/ibot da316d8, torch {torch.__version__}",
        "shared": run(checkout, shared=True),
        "separate": run(checkout, shared=False),
    }
    target = Path(__file__).with_name("reference_steps.json")
    target.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
