"""Preconditioned Newton-CG for many multinomial logistic regressions at once: all folds, along the path of C.

One solve holds every fold: the features are multiplied once per step for all folds and classes together.
Values of C follow one another from small to large, because the solutions form a smooth curve in log C: the
next one is extrapolated from the last three, so close that a handful of Hessian products finishes it, where
solving all values side by side from scratch takes hundreds. Everything is float64, so that the objective's
digits can be trusted at C = 1e5 too.

Parameters are float64 [F, K, d + 1]: fold, class, weights and (last) the intercept, which is not penalised.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import torch
from scipy.linalg import eigvalsh_tridiagonal
from torch import Tensor

from cytobench.probes.curvature import FactoredHessian, factor_hessian, prices
from cytobench.probes.multinomial import Problem
from cytobench.probes.preconditioner import Preconditioner, precondition

_NEWTON_STEPS = 20
_CG_STEPS = 300
_HALVINGS = 30
_ROUNDING = 1e-12  # relative gaps below this may be float64 noise that no further step reduces
_DELAY = 4  # steps of conjugate gradients whose joint gain tells what is still to be gained
_FORCING = 0.03  # how far one Newton step's linear system is solved, in the preconditioned norm


class Curvature:
    """Decides along the path when to factor the Hessian, and keeps the factors.

    It is factored anew when the steps of conjugate gradients since the last time have cost as much as
    factoring does: at most twice what the best plan in hindsight would have cost.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        folds, n_classes = problem.floor.shape[:2]
        n, d = problem.features.shape
        self._prices = prices(folds, n, n_classes, d)
        self._spent = 0.0
        self._factored: FactoredHessian | None = None
        self._made_at = 1.0

    def spend(self, steps: int, n_folds: int) -> None:
        """Count steps of conjugate gradients for some of the folds."""
        if self._prices is not None:
            share = n_folds / len(self._problem.masks)
            self._spent += steps * share * self._prices.step(factored=self._factored is not None)

    def preconditioner(
        self, problem: Problem, probabilities: Tensor, C: float, folds: Tensor
    ) -> Preconditioner | FactoredHessian:
        """Return the best approximate inverse Hessian at hand for `folds` of the whole problem."""
        if self._factored is None:
            return precondition(problem.basis, probabilities, problem.factor * C)
        return self._factored.grown(C / self._made_at).take(folds)

    def caution(self, state: State, C: float) -> None:
        """Lower the conditioning by what an older factor misjudges: the penalty does not grow with C."""
        if self._factored is not None:
            state.conditioning = state.conditioning.clamp_max(min(1.0, self._made_at / C))

    def renew(self, state: State, C: float) -> None:
        """Factor the Hessian at `state` (all folds) if that is due; the conditioning then starts from 1."""
        if self._prices is None or self._spent < self._prices.factoring:
            return
        self._spent = 0.0
        whole = self._problem
        _, normaliser = whole.objective(state.parameters, state.logits, C)
        probabilities = torch.exp(state.logits + whole.floor - normaliser)
        factors = [
            factor_hessian(whole.seen(fold), probabilities[fold][:, whole.masks[fold]], strength * C)
            for fold, strength in enumerate(whole.factor.tolist())
        ]
        made = [factor for factor in factors if factor is not None]
        if len(made) < len(factors):
            self._prices = None
        else:
            self._factored, self._made_at = FactoredHessian(made), C
            state.conditioning = torch.ones_like(state.conditioning)


@dataclass
class State:
    """Where every fold stands at one value of C.

    parameters [F, K, d + 1]; logits [F, K, n]; objective, gap, gradient_norm [F]; conditioning [F]: the
    smallest eigenvalue of the preconditioned Hessian seen, which turns a residual into a bound on the gap.
    """

    parameters: Tensor
    logits: Tensor
    objective: Tensor
    gap: Tensor
    gradient_norm: Tensor
    conditioning: Tensor

    def _parts(self) -> tuple[Tensor, ...]:
        return tuple(getattr(self, field.name) for field in fields(self))

    def copy(self) -> State:
        """Return a state that can be changed without changing this one."""
        return State(*(part.clone() for part in self._parts()))

    def take(self, folds: Tensor) -> State:
        """Return the state of some folds only, as a copy."""
        return State(*(part[folds] for part in self._parts()))

    def put(self, folds: Tensor, other: State) -> None:
        """Overwrite some folds with the state that was taken from them."""
        for mine, theirs in zip(self._parts(), other._parts(), strict=True):
            mine[folds] = theirs


def _dot(left: Tensor, right: Tensor) -> Tensor:
    return (left * right).sum((1, 2))


def _smallest_ritz_value(alphas: npt.NDArray[np.float64], betas: npt.NDArray[np.float64]) -> float:
    """Estimate the smallest eigenvalue of the preconditioned Hessian from one fold's CG coefficients."""
    steps = int((alphas > 0).sum())
    if steps == 0:
        return 1.0
    alphas, betas = alphas[:steps], betas[: steps - 1]
    diagonal = 1.0 / alphas
    diagonal[1:] += betas / alphas[:-1]
    return float(eigvalsh_tridiagonal(diagonal, np.sqrt(betas) / alphas[:-1]).min())


@dataclass(frozen=True)
class _Slope:
    """What Newton's method needs to know at one point: gradient, curvature and nearly its inverse."""

    probabilities: Tensor
    gradient: Tensor
    preconditioner: Preconditioner | FactoredHessian
    energy: Tensor  # squared gradient in the preconditioner's norm [F]

    def take(self, folds: Tensor) -> _Slope:
        return _Slope(
            self.probabilities[folds],
            self.gradient[folds],
            self.preconditioner.take(folds),
            self.energy[folds],
        )


def _assess(problem: Problem, state: State, C: float, curvature: Curvature, folds: Tensor) -> _Slope:
    """Compute gradient and preconditioner at `state` and note its objective and estimated gap in it."""
    state.objective, normaliser = problem.objective(state.parameters, state.logits, C)
    probabilities = torch.exp(state.logits + problem.floor - normaliser)
    probabilities *= problem.masks[:, None, :]
    gradient = problem.gradient(state.parameters, probabilities, C)
    preconditioner = curvature.preconditioner(problem, probabilities, C, folds)
    energy = _dot(gradient, preconditioner(gradient))
    state.gap = 0.5 * energy / state.conditioning
    state.gradient_norm = _dot(gradient, gradient).sqrt()
    return _Slope(probabilities, gradient, preconditioner, energy)


@dataclass(frozen=True)
class _Newton:
    """What conjugate gradients found.

    direction [F, K, d + 1]; ritz [F], the smallest Ritz value; products, their number; decrement [F], how far
    the quadratic model falls along the direction (inf where it was cut short).
    """

    direction: Tensor
    ritz: Tensor
    products: int
    decrement: Tensor


def _newton_direction(problem: Problem, slope: _Slope, C: float, enough: Tensor, allowed: Tensor) -> _Newton:
    """Solve Hessian x direction = -gradient by conjugate gradients.

    A fold is done when its residual is below `enough` [F], or when its last steps no longer lower the
    quadratic model by a tenth of `allowed` [F] (the delayed estimate of Strakos & Tichy 2002).
    """
    residual = -slope.gradient
    solution = torch.zeros_like(residual)
    step = slope.preconditioner(residual)
    energy = slope.energy
    running = torch.ones_like(energy, dtype=torch.bool)
    alphas: list[Tensor] = []
    betas: list[Tensor] = []
    falls: list[Tensor] = []
    settled = torch.zeros_like(running)
    for _ in range(_CG_STEPS):
        product = problem.curve(step, slope.probabilities, C)
        curvature = _dot(step, product)
        running = running & ~settled & (energy > enough) & (curvature > 0)
        alpha = torch.where(running, energy / curvature.clamp_min(1e-300), 0.0)
        solution = solution + alpha[:, None, None] * step
        residual = residual - alpha[:, None, None] * product
        preconditioned = slope.preconditioner(residual)
        following = _dot(residual, preconditioned)
        beta = torch.where(running, following / energy.clamp_min(1e-300), 0.0)
        alphas.append(alpha)
        betas.append(beta)
        falls.append(0.5 * alpha * energy)
        energy = torch.where(running, following, energy)
        delay = max(_DELAY, len(falls) // 4)
        if len(falls) >= delay:
            recent = torch.stack(falls[-delay:]).sum(0)
            settled = settled | ((recent < 0.1 * allowed) & (energy < allowed))
        if not bool((running & ~settled & (energy > enough)).any()):
            break
        step = preconditioned + beta[:, None, None] * step
    columns = (torch.stack(coefficients, dim=1).cpu().numpy() for coefficients in (alphas, betas))
    ritz = [_smallest_ritz_value(alpha, beta) for alpha, beta in zip(*columns, strict=True)]
    smallest = torch.tensor(ritz, dtype=torch.float64, device=solution.device)
    decrement = torch.where(settled | (energy <= enough), torch.stack(falls).sum(0), torch.inf)
    return _Newton(solution, smallest, len(alphas), decrement)


def _descend(problem: Problem, state: State, direction: Tensor, slope: Tensor, C: float) -> Tensor:
    """Move `state` along `direction`, halving the step of each fold whose objective did not fall (Armijo).

    Returns which folds moved, bool [F]; the others stay where they are.
    """
    change = problem.logits(direction)
    size = torch.ones_like(slope)
    slack = 1e-14 * state.objective.abs()
    for _ in range(_HALVINGS):
        parameters = state.parameters + size[:, None, None] * direction
        logits = state.logits + size[:, None, None] * change
        objective, _ = problem.objective(parameters, logits, C)
        fell = objective <= state.objective + 1e-4 * size * slope + slack
        if bool(fell.all()):
            break
        size = torch.where(fell, size, 0.5 * size)
    state.parameters = torch.where(fell[:, None, None], parameters, state.parameters)
    state.logits = torch.where(fell[:, None, None], logits, state.logits)
    return fell


def minimise(problem: Problem, state: State, C: float, tolerance: float, curvature: Curvature) -> None:
    """Bring every fold of `state` (changed in place) to within `tolerance` x objective of its optimum.

    Folds that are there are left out of further work. `state.gap` ends as the estimated distance to the
    optimal objective: half the squared gradient in the preconditioner's norm over the smallest eigenvalue of
    the preconditioned Hessian, as conjugate gradients saw it. A fold that could not be improved keeps a gap
    above the tolerance.
    """
    active = torch.arange(len(problem.masks), device=problem.features.device)
    known = torch.full_like(state.gap, torch.inf)  # what the last step's own model says of the gap left
    curvature.caution(state, C)
    for _ in range(_NEWTON_STEPS):
        curvature.renew(state, C)
        part, here = problem.take(active), state.take(active)
        before = here.gap
        slope = _assess(part, here, C, curvature, active)
        here.gap = torch.minimum(here.gap, known[active])
        state.put(active, here)
        exhausted = (here.gap > 0.5 * before) & (here.gap < _ROUNDING * here.objective)
        allowed = (tolerance * here.objective).maximum(part.slack * C)
        unfinished = ((here.gap > allowed) & ~exhausted).nonzero()[:, 0]
        if len(unfinished) == 0:
            return
        if len(unfinished) < len(active):
            active, part, allowed = active[unfinished], part.take(unfinished), allowed[unfinished]
            here, slope = here.take(unfinished), slope.take(unfinished)
        enough = torch.maximum(_FORCING**2 * slope.energy, 0.2 * allowed * here.conditioning)
        newton = _newton_direction(part, slope, C, enough, allowed)
        curvature.spend(newton.products, len(active))
        here.conditioning = torch.minimum(newton.ritz, 4.0 * here.conditioning).clamp(1e-12, 1.0)
        moved = _descend(part, here, newton.direction, _dot(slope.gradient, newton.direction), C)
        known[active] = torch.where(newton.decrement < 0.5 * allowed, newton.decrement, torch.inf)
        state.put(active, here)
        active = active[moved]
        if len(active) == 0:
            return


def _extrapolations(history: Sequence[tuple[float, State]], C: float) -> list[tuple[Tensor, Tensor]]:
    """Return parameters and logits of the polynomials in log C through the last one, two, three solutions."""
    guesses = []
    for count in range(1, len(history) + 1):
        recent = history[-count:]
        places = [math.log(place) for place, _ in recent]
        coefficients = [
            math.prod((math.log(C) - b) / (a - b) for j, b in enumerate(places) if j != i)
            for i, a in enumerate(places)
        ]
        pairs = [(c, state) for c, (_, state) in zip(coefficients, recent, strict=True)]
        parameters = sum((c * s.parameters for c, s in pairs), torch.zeros(()))
        guesses.append((parameters, sum((c * s.logits for c, s in pairs), torch.zeros(()))))
    return guesses


def _predict(problem: Problem, history: Sequence[tuple[float, State]], C: float) -> State:
    """Return, for every fold, the extrapolation along the path with the lowest objective at C."""
    state = history[-1][1].copy()
    state.objective, _ = problem.objective(state.parameters, state.logits, C)
    for parameters, logits in _extrapolations(history, C)[1:]:
        objective, _ = problem.objective(parameters, logits, C)
        better = (objective < state.objective)[:, None, None]
        state.objective = torch.minimum(objective, state.objective)
        state.parameters = torch.where(better, parameters, state.parameters)
        state.logits = torch.where(better, logits, state.logits)
    return state


def follow_path(problem: Problem, start: Tensor, Cs: Sequence[float], tolerance: float) -> Iterator[State]:
    """Yield the solution of every fold at each of `Cs` (increasing), starting from parameters `start`.

    The states that are yielded must not be changed: later ones are extrapolated from them.
    """
    curvature = Curvature(problem)
    ones = torch.ones(len(start), dtype=start.dtype, device=start.device)
    history: list[tuple[float, State]] = []
    state = State(start, problem.logits(start), ones, ones, ones, ones)
    for C in Cs:
        state = _predict(problem, history, C) if history else state.copy()
        state.gap = torch.full_like(state.gap, torch.inf)
        minimise(problem, state, C, tolerance, curvature)
        history = [*history[-2:], (C, state)]
        yield state
