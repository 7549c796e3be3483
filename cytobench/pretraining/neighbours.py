"""Watching a run by nearest neighbours on labelled cells of the sealed share: no training, no search.

The benchmark's own probes need libraries that training machines may lack; this one needs torch alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from cytobench.errors import DataError
from cytobench.features.durable import save_durably
from cytobench.pretraining.masked_vit import Crops, MaskedViT

_CHUNK = 128


@dataclass(frozen=True)
class Labelled:
    """Labelled pictures: pixels uint8 [n, side, side, 3]; labels, groups: int64 [n]; classes: their names.

    Cells of one group are never each other's neighbours; where a data set has no groups every cell is its
    own.
    """

    name: str
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    classes: tuple[str, ...]

    def save(self, path: Path) -> None:
        """Write the set as an npz file."""

        def write(file: BinaryIO) -> None:
            np.savez(
                file,
                pixels=self.pixels,
                labels=self.labels,
                groups=self.groups,
                classes=np.array(self.classes),
                name=np.array(self.name),
            )

        save_durably(path, write, option="--out")

    @classmethod
    def load(cls, path: Path) -> Labelled:
        """Read a set; raises DataError."""
        try:
            with np.load(path, allow_pickle=False) as held:
                return cls(
                    name=str(held["name"]),
                    pixels=held["pixels"],
                    labels=held["labels"],
                    groups=held["groups"],
                    classes=tuple(str(one) for one in held["classes"]),
                )
        except (OSError, KeyError, ValueError) as error:
            raise DataError(f"{path} is no set of labelled pictures ({error}): pack it anew.") from error


@torch.no_grad()
def embed(
    backbone: MaskedViT, pixels: NDArray[np.uint8], mean: tuple[float, ...], std: tuple[float, ...]
) -> Tensor:
    """Return the class tokens float32 [n, D] of pictures uint8 [n, s, s, 3] of the global crops' size."""
    device = backbone.cls_token.device
    shift, scale = (torch.tensor(v, device=device)[:, None, None] for v in (mean, std))
    was_training = backbone.training
    backbone.eval()
    found = []
    for at in range(0, len(pixels), _CHUNK):
        part = torch.tensor(pixels[at : at + _CHUNK]).to(device)
        x = (part.permute(0, 3, 1, 2).float() / 255.0 - shift) / scale
        found.append(backbone([Crops(x)])[0].cls.float())
    backbone.train(was_training)
    return torch.cat(found)


@torch.no_grad()
def knn_accuracy(
    features: Tensor, labels: NDArray[np.int64], groups: NDArray[np.int64], *, k: int = 20
) -> float:
    """Return the balanced accuracy of a vote of the k nearest cells of other groups.

    Features [n, D] are centred, normalised and compared by their cosine; votes weigh exp(cosine / 0.07), as
    iBOT and DINO weigh them.
    """
    x = normalize(features - features.mean(dim=0), dim=1)
    device = x.device
    label, group = (torch.from_numpy(part).to(device) for part in (labels, groups))
    classes = int(labels.max()) + 1
    predicted = []
    for at in range(0, len(x), 1024):
        rows = slice(at, at + 1024)
        similarity = x[rows] @ x.T
        similarity[group[rows, None] == group[None]] = -torch.inf
        near, which = similarity.topk(min(k, len(x) - 1), dim=1)
        votes = torch.zeros(len(near), classes, device=device)
        votes.scatter_add_(1, label[which], (near / 0.07).exp())
        predicted.append(votes.argmax(dim=1))
    right = (torch.cat(predicted) == label).cpu().numpy()
    return float(np.mean([right[labels == c].mean() for c in np.unique(labels)]))
