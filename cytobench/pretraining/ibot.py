"""iBOT as one module: a student, a teacher that follows it, their heads, and the centres.

One training step, in plain PyTorch:

    losses = model(crops, masks, temperatures)      # never waits for the device
    losses["total"].backward()
    … clip, freeze, optimiser step …
    model.ema_update(momentum)

Zhou et al., "iBOT: Image BERT Pre-Training with Online Tokenizer", ICLR 2022 (arXiv:2111.07832). Equal to the
published code, with less work: heads see class tokens and masked patches only (plus one pass of the teacher's
MLP over all patches, for the exact centre).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypedDict

import torch
from torch import Tensor, nn

from cytobench.errors import UsageError, WeightsError
from cytobench.pretraining import losses
from cytobench.pretraining.centring import Centres, TeacherSums
from cytobench.pretraining.heads import HeadShape, ProjectionHead
from cytobench.pretraining.masked_vit import Crops, MaskedViT, ViTShape
from cytobench.pretraining.masking import MaskBatch
from cytobench.pretraining.precision import full_precision
from cytobench.pretraining.sinkhorn import sinkhorn


@dataclass(frozen=True)
class Objective:
    """What is optimised; the defaults are iBOT's.

    patch_weight = 0 trains without masks (DINO with iBOT's head). patch_centre: the mean score of all patches
    (iBOT) or of masked ones (DINOv2). centring: "ema" subtracts running centres, "sinkhorn" balances the
    teacher's assignments in each batch.
    """

    n_global: int = 2
    student_temperature: float = 0.1
    cls_weight: float = 1.0
    patch_weight: float = 1.0
    centring: Literal["ema", "sinkhorn"] = "ema"
    centre_momentum: float = 0.9
    patch_centre_momentum: float = 0.9
    patch_centre: Literal["all", "masked"] = "all"
    sinkhorn_iterations: int = 3


class Masks(NamedTuple):
    """`masking.MaskBatch` as tensors: tokens bool [G * B, N], patch_index int64 [P], weight float [P]."""

    tokens: Tensor
    patch_index: Tensor
    weight: Tensor

    @classmethod
    def of(cls, batch: MaskBatch) -> Masks:
        """Return the batch's arrays as tensors that share their memory."""
        return cls(*(torch.from_numpy(part) for part in batch))


class Temperatures(NamedTuple):
    """The teacher's temperatures as 0-d tensors, so that changing them never recompiles a graph."""

    cls: Tensor
    patch: Tensor

    @classmethod
    def of(cls, cls_value: float, patch_value: float, like: Tensor) -> Temperatures:
        """Return both as 0-d tensors of `like`'s device and type, filled without waiting for the device."""
        return cls(like.new_full((), cls_value), like.new_full((), patch_value))


class Losses(TypedDict):
    """0-d tensors on the device: `total` is weighted and carries the gradient; the others are for the log.

    cls and patch are unweighted. teacher_entropy: mean entropy of the teacher's class-token probabilities;
    marginal_entropy: entropy of their mean, both over the batches of all processes, in nats. Their difference
    is the mutual information of images and prototypes; both at ln K, or both at zero, is a collapse.
    """

    total: Tensor
    cls: Tensor
    patch: Tensor
    teacher_entropy: Tensor
    marginal_entropy: Tensor


class Network(nn.Module):
    """A backbone and its projection head, under the names of iBOT's checkpoints."""

    def __init__(self, backbone: ViTShape, head: HeadShape, *, student: bool, masked: bool) -> None:
        super().__init__()
        self.backbone = MaskedViT(backbone, student=student, masked=masked)
        self.head = ProjectionHead(self.backbone.embed_dim, head)


class _Target(NamedTuple):
    """What the teacher asks of the student, and the sums for the centres."""

    cls: Tensor
    patch: Tensor | None
    sums: TeacherSums


class IBOT(nn.Module):
    """Student, teacher and centres; the teacher starts as the student's copy and never has gradients.

    Raises UsageError for an objective without patches and a head that has prototypes of its own for them.
    """

    def __init__(self, backbone: ViTShape, head: HeadShape, objective: Objective) -> None:
        super().__init__()
        if objective.patch_weight == 0 and not head.shared:
            raise UsageError(
                "without a patch loss (patch_weight = 0) the head must be shared (shared = true)."
            )
        self.objective = objective
        masked = objective.patch_weight != 0
        self.student = Network(backbone, head, student=True, masked=masked)
        self.teacher = Network(backbone, head, student=False, masked=False)
        self.centres = Centres(
            head.out_dim,
            head.patch_prototypes,
            momentum=objective.centre_momentum,
            patch_momentum=objective.patch_centre_momentum,
        )
        self.copy_to_teacher()
        self.teacher.requires_grad_(False)
        self._cls_loss, self._patch_loss = losses.cls_loss, losses.patch_loss

    def forward(
        self,
        global_crops: Tensor,
        local_crops: Tensor | None,
        masks: Masks | None,
        temperatures: Temperatures,
    ) -> Losses:
        """Return the losses of one batch; in training mode the centres move afterwards.

        global_crops: float [G * B, 3, s, s]; local_crops: float [L * B, 3, t, t] or None; both crop-major.
        masks: of the global crops, None exactly when patch_weight is 0.
        """
        if (masks is None) != (self.objective.patch_weight == 0):
            raise ValueError("masks are needed exactly when the patch loss has a weight")
        target = self._teach(global_crops, masks, temperatures)
        cls_scores, patch_scores = self._learn(global_crops, local_crops, masks)
        objective, tau = self.objective, self.objective.student_temperature
        cls = self._cls_loss(cls_scores, target.cls, n_global=objective.n_global, temperature=tau)
        patch = cls.new_zeros(())
        if masks is not None and target.patch is not None:
            patch = self._patch_loss(patch_scores, target.patch, masks.weight, temperature=tau)
        sums = target.sums.over_processes()
        if self.training:
            self.centres.update(sums)
        return {
            "total": objective.cls_weight * cls + objective.patch_weight * patch,
            "cls": cls.detach(),
            "patch": patch.detach(),
            "teacher_entropy": sums.cls_entropy / sums.cls_count,
            "marginal_entropy": losses.entropy(sums.cls_probabilities / sums.cls_count),
        }

    @torch.no_grad()
    def ema_update(self, momentum: float) -> None:
        """Move the teacher towards the student: momentum * teacher + (1 - momentum) * student."""
        teacher = dict(self.teacher.named_parameters())
        student = dict(self.student.named_parameters())
        torch._foreach_lerp_(list(teacher.values()), [student[name] for name in teacher], 1.0 - momentum)

    @torch.no_grad()
    def copy_to_teacher(self) -> None:
        """Make the teacher equal to the student, e.g. after loading weights into it."""
        self.ema_update(0.0)

    def load_backbone(self, state: Mapping[str, Tensor]) -> None:
        """Start student and teacher from a backbone's weights, position embeddings resized where need be.

        Heads stay fresh. Raises WeightsError unless all other names and shapes fit.
        """
        self.student.backbone.load_timm_state(self.student.backbone.fit_positions(state))
        self.copy_to_teacher()

    def compile_parts(self, **options: Any) -> None:
        """Compile blocks, heads and losses, each by itself (`options` of torch.compile)."""
        for network in (self.student, self.teacher):
            for block in network.backbone.blocks:
                block.compile(**options)
            network.head.compile(**options)
        self._cls_loss = torch.compile(losses.cls_loss, **options)
        self._patch_loss = torch.compile(losses.patch_loss, **options)

    def published_state(self) -> dict[str, dict[str, Tensor]]:
        """Return the weights as iBOT's checkpoints hold them: `student`, `teacher` and `ibot_loss`."""
        parts: dict[str, nn.Module] = {
            "student": self.student,
            "teacher": self.teacher,
            "ibot_loss": self.centres,
        }
        return {name: part.state_dict() for name, part in parts.items()}

    def load_published_state(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take weights from a checkpoint laid out as iBOT's (the student's names may start with `module.`).

        Raises WeightsError unless all names and shapes fit.
        """
        parts: dict[str, nn.Module] = {
            "student": self.student,
            "teacher": self.teacher,
            "ibot_loss": self.centres,
        }
        for name, part in parts.items():
            given = {key.removeprefix("module."): value for key, value in state[name].items()}
            try:
                part.load_state_dict(given)
            except RuntimeError as error:
                first = str(error).splitlines()[-1].strip()
                raise WeightsError(
                    f"the checkpoint's '{name}' does not fit this configuration: {first}"
                ) from error

    @torch.no_grad()
    def _teach(self, crops: Tensor, masks: Masks | None, temperatures: Temperatures) -> _Target:
        """Return the teacher's probabilities for class tokens [G * B, K] and masked patches [P, K2]."""
        n_cls, head, backbone = crops.shape[0], self.teacher.head, self.teacher.backbone
        if masks is None:
            scores, _ = head.scores(head(backbone.select([Crops(crops)], None)), n_cls)
            return self._target(scores, None, scores.new_empty(0), None, temperatures)
        if self._counts_all_patches:
            tokens = backbone([Crops(crops)])[0]
            every = head(torch.cat([tokens.cls, tokens.patches.flatten(0, 1)]))
            counted = every[n_cls:]
            unit = torch.cat([every[:n_cls], counted.index_select(0, masks.patch_index)])
        else:
            unit = head(backbone.select([Crops(crops)], masks.patch_index))
            counted = unit[n_cls:] * (masks.weight > 0)[:, None]
        scores, patch_scores = head.scores(unit, n_cls)
        return self._target(scores, patch_scores, counted, masks, temperatures)

    @property
    def _counts_all_patches(self) -> bool:
        """Whether the teacher's MLP must see every patch; Sinkhorn has no centre that would need them."""
        return self.objective.patch_centre == "all" and self.objective.centring == "ema"

    def _target(
        self,
        scores: Tensor,
        patch_scores: Tensor | None,
        counted: Tensor,
        masks: Masks | None,
        temperatures: Temperatures,
    ) -> _Target:
        valid = None if masks is None else masks.weight > 0
        cls = self._assign(scores, self.centres.cls, temperatures.cls, None)
        patch = None
        if patch_scores is not None:
            patch = self._assign(patch_scores, self.centres.patch, temperatures.patch, valid)
        return _Target(cls, patch, self._sums(scores, cls, counted, masks))

    def _assign(self, scores: Tensor, centre: Tensor, temperature: Tensor, valid: Tensor | None) -> Tensor:
        if self.objective.centring == "ema":
            return losses.centred_softmax(scores, centre, temperature)
        return sinkhorn(scores, temperature, iterations=self.objective.sinkhorn_iterations, valid=valid)

    def _sums(self, scores: Tensor, cls: Tensor, counted: Tensor, masks: Masks | None) -> TeacherSums:
        """Sum what the centres and entropies need; patch scores through the last layer's linearity."""
        with full_precision(cls):
            if masks is None:
                patch_scores, patch_count = torch.zeros_like(self.centres.patch[0]), cls.new_zeros(())
            else:
                weight = self.teacher.head.last_layer2.weight().to(cls.dtype)
                patch_scores = torch.mv(weight, counted.sum(dim=0).to(cls.dtype))
                rows = cls.new_full((), float(counted.shape[0]))
                patch_count = rows if self._counts_all_patches else (masks.weight > 0).sum().to(cls.dtype)
            return TeacherSums(
                cls_scores=scores.to(cls.dtype).sum(dim=0),
                cls_probabilities=cls.sum(dim=0),
                cls_entropy=losses.entropy(cls).sum(),
                cls_count=cls.new_full((), float(cls.shape[0])),
                patch_scores=patch_scores,
                patch_count=patch_count,
            )

    def _learn(
        self, global_crops: Tensor, local_crops: Tensor | None, masks: Masks | None
    ) -> tuple[Tensor, Tensor]:
        """Return the student's scores of all crops [(G + L) * B, K] and of masked patches [P, K2]."""
        groups = [Crops(global_crops, None if masks is None else masks.tokens)]
        if local_crops is not None:
            groups.append(Crops(local_crops))
        tokens = self.student.backbone.select(groups, None if masks is None else masks.patch_index)
        head = self.student.head
        return head.scores(head(tokens), sum(len(group.images) for group in groups))
