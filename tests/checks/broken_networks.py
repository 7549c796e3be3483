"""Loaders that are broken on purpose, one way each; found beside the card of a plugin folder."""

SOURCE = """
import torch
from torch import nn
from torch.nn import functional as F


class Net(nn.Module):
    def __init__(self, fault):
        super().__init__()
        self.fault = fault
        self.conv = nn.Conv2d(3, 16, 8, 8)

    def forward(self, x):
        y = self.conv(x)
        if self.fault == "batchnorm":
            y = F.batch_norm(y, None, None, training=True)
        y = torch.tanh(y).mean((2, 3))
        if self.fault == "dropout":
            y = F.dropout(y, 0.5, training=True)
        if self.fault == "dead":
            y = y * 0.0 + 1.0
        if self.fault == "order":
            y = y + torch.arange(len(y))[:, None].float()
        if self.fault == "nan":
            y = y / (x.std((2, 3)).mean(1) > 1e-4).float()[:, None]
        if self.fault == "huge":
            y = y * 1e7
        return y


def sound(card, weights): return Net("")
def batchnorm(card, weights): return Net("batchnorm")
def dropout(card, weights): return Net("dropout")
def dead(card, weights): return Net("dead")
def order(card, weights): return Net("order")
def nan(card, weights): return Net("nan")
def huge(card, weights): return Net("huge")
def raises(card, weights): raise RuntimeError("no such file inside")


class Flat(nn.Module):
    def forward(self, x): return x.flatten(1)[:, :16].float()


def bgr(card, weights):
    return Net(""), lambda crop: _small(crop)[..., ::-1].transpose(2, 0, 1).astype("float32") / 127.5 - 1.0


def raw(card, weights):
    return Net(""), lambda crop: _small(crop).transpose(2, 0, 1).astype("float32")


def _small(crop):
    import numpy as np
    from PIL import Image
    return np.asarray(Image.fromarray(crop).resize((32, 32)))
"""
