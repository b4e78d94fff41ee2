"""A loss that learns from a teacher's scores as well as from the labels.

Source: Hinton, Vinyals & Dean 2015, arXiv:1503.02531, for one logit instead of a softmax.
Legend: B batch, α share of the teacher's loss, T temperature.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from compression.spec.hook import Hook


def soft_loss(logits: Tensor, teacher_logits: Tensor, temperature: float, weight: Tensor | None = None) -> Tensor:
    """T² · cross-entropy of σ(student / T) against σ(teacher / T), rows counting by weight: (B,), (B,) → scalar.

    The factor T² keeps the gradient's size when T changes (section 2 of the paper).
    """
    soft = torch.sigmoid(teacher_logits / temperature)
    return temperature**2 * binary_cross_entropy_with_logits(logits / temperature, soft, weight)


class MeanOfTeachers(nn.Module):
    """Several teachers that speak as one: the mean of their logits, forward({input: tensor}) → (B,)."""

    def __init__(self, teachers: list[nn.Module]) -> None:
        super().__init__()
        self.teachers = nn.ModuleList(teachers)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return torch.stack([teacher(batch).float() for teacher in self.teachers]).mean(0)


class DistillationHook(Hook):
    """loss → (1 − α) · loss + α · soft_loss. The teacher is copied, frozen and moved to where the student trains.

    `schedule`: with "fading" α falls in a line to 0, so that labels have the last word; with "cooling" T falls in a
    line to 1, so that the teacher's scores become sharp (Jafari et al. 2021, arXiv:2104.07163).
    """

    def __init__(self, teacher: nn.Module, *, alpha: float, temperature: float, schedule: str = "constant") -> None:
        self.teacher = teacher
        self.alpha = alpha
        self.temperature = temperature
        self.schedule = schedule
        self.done = 0.0  # share of all steps

    def on_start(self, model: nn.Module, total_steps: int) -> None:
        device = next(model.parameters()).device
        self.teacher = copy.deepcopy(self.teacher).to(device).eval().requires_grad_(False)

    def loss(self, batch: dict[str, Tensor], logits: Tensor, label: Tensor, loss: Tensor,
             weight: Tensor | None = None) -> Tensor:
        with torch.no_grad():
            teacher_logits = self.teacher(batch).float()
        left = 1 - self.done
        alpha = self.alpha * left if self.schedule == "fading" else self.alpha
        temperature = 1 + (self.temperature - 1) * left if self.schedule == "cooling" else self.temperature
        return (1 - alpha) * loss + alpha * soft_loss(logits.float(), teacher_logits, temperature, weight)

    def after_step(self, model: nn.Module, step: int, total_steps: int) -> None:
        self.done = step / total_steps

    def state_dict(self) -> dict[str, float]:
        return {"done": self.done}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.done = state["done"]
