"""Write lightly_losses.json: what lightly's losses say on the inputs of test_losses.py.

Run in a throwaway environment that also has lightly, which neither CytoBench nor its tests need:

    pip install --no-deps lightly==1.6.0
    python tests/pretraining/make_lightly_losses.py
"""

from __future__ import annotations

import json
from pathlib import Path

import lightly
import torch
from lightly.loss import DINOLoss, IBOTPatchLoss


def rows(a: float, n: int, k: int) -> torch.Tensor:
    i, j = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(k, dtype=torch.float64)
    return torch.sin(a + 1.9 * i + 1.3 * j)


def main() -> None:
    centre = rows(0.9, 1, 7) * 0.1
    temperature = 0.0625  # exact in float32, which lightly rounds temperatures to
    dino = DINOLoss(output_dim=7, student_temp=0.1).double()
    dino.center.copy_(centre[None])
    student, teacher = rows(0.1, 12, 7) * 2, rows(0.6, 6, 7)
    dino_loss = dino(list(teacher.chunk(2)), list(student.chunk(4)), teacher_temp=temperature)

    masks = torch.zeros(6, 2, 2, dtype=torch.bool)
    masks[0, 0, 0] = masks[1, 0, 0] = masks[1, 0, 1] = masks[4, 0, 1] = masks[4, 1, 1] = True
    masks[2] = True
    ibot = IBOTPatchLoss(output_dim=7, teacher_temp=temperature, student_temp=0.1).double()
    ibot.center.center.copy_(centre)
    masked = int(masks.sum())
    ibot_loss = ibot(rows(0.7, masked, 7), rows(0.2, masked, 7) * 2, masks)

    document = {
        "made_by": f"make_lightly_losses.py with lightly {lightly.__version__}, torch {torch.__version__}",
        "dino": {"teacher_temp": temperature, "loss": dino_loss.item()},
        "ibot": {"teacher_temp": temperature, "loss": ibot_loss.item()},
    }
    target = Path(__file__).with_name("lightly_losses.json")
    target.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
