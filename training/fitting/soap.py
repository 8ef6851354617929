"""SOAP: Adam in the eigenbases of Shampoo (N. Vyas et al., arXiv:2409.11321)."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sikff.nn import Contraction, Linear

LARGEST = 256  # size of the largest basis; a longer side of a matrix is not rotated


class Piece(NamedTuple):
    """Adjacent matrices of one shape in a flat parameter."""

    parameter: nn.Parameter
    start: int  # in the flat parameter
    shape: tuple[int, int, int]  # number, rows, columns

    def of(self, tensor: Tensor) -> Tensor:
        """The piece of a tensor of the parameter's shape, as a view [k, m, n]."""
        stop = self.start + prod(self.shape)
        return tensor.view(-1)[self.start : stop].view(self.shape)


class SOAP(torch.optim.Optimizer):
    """Adam, for every matrix G of the gradient in slowly changing orthonormal bases U and V:

        L <- b2 L + (1 - b2) G G^T,   R <- b2 R + (1 - b2) G^T G
        U, V: 1; from step `every` on eigenvectors of L and R, updated by a QR step every `every`
        M <- b1 M + (1 - b1) G,       S <- b2 S + (1 - b2) (U^T G V)^2
        W <- W - lr U [(U^T M V) / (sqrt(S) + eps)] V^T

    M and S without their bias, as in Adam. The weights of an equivariant layer are many matrices,
    one for each irrep or path: each has bases of its own, and all of one size are treated together.
    Vectors, and matrices of one row or column, are updated by Adam and do not decay; a side longer
    than LARGEST has no basis.

    Args:
        model: its parameters that require gradients are trained.
        lr: learning rate.
        weight_decay: of matrices, as in AdamW.
        betas: b1 and b2.
        eps: keeps the step finite.
        every: steps before the first bases, and between two updates of them.
    """

    def __init__(
        self,
        model: nn.Module,
        lr: float,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.95, 0.95),
        eps: float = 1e-8,
        every: int = 10,
    ) -> None:
        trained = [p for p in model.parameters() if p.requires_grad]
        defaults = {"lr": lr, "weight_decay": weight_decay, "betas": betas, "eps": eps}
        super().__init__(trained, {**defaults, "every": every})
        self._pieces: dict[str, list[Piece]] = {}  # by the size of their matrices
        for piece in pieces(model):
            if piece.parameter.requires_grad:
                self._pieces.setdefault("{1} x {2}".format(*piece.shape), []).append(piece)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step; `closure`, if given, computes the loss and its gradient first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for name, equal in self._pieces.items():
            self._update(name, equal, self.param_groups[0])
        return loss

    def _update(self, name: str, pieces: list[Piece], settings: dict[str, Any]) -> None:
        """A step of all matrices of one size."""
        lr, (b1, b2) = settings["lr"], settings["betas"]
        state = self.state[name]  # type: ignore[index]
        grad = torch.cat([piece.of(_gradient(piece.parameter)) for piece in pieces])
        if not state:
            state["step"], state["M"], state["S"] = 0, *grad.new_zeros(2, *grad.shape)
        state["step"] += 1
        u = _basis(grad, state, "L", b2, settings["every"])
        v = _basis(grad.mT, state, "R", b2, settings["every"])
        state["M"].lerp_(grad, 1 - b1)
        state["S"].lerp_(_rotated(grad, u, v).square(), 1 - b2)
        mean = _rotated(state["M"], u, v) / (1 - b1 ** state["step"])
        square = state["S"] / (1 - b2 ** state["step"])
        change = mean / (square.sqrt() + settings["eps"])
        change = _rotated(change, None if u is None else u.mT, None if v is None else v.mT)
        is_matrix = max(grad.shape[1:]) > 1
        kept = 1 - lr * settings["weight_decay"] * is_matrix
        for piece, part in zip(pieces, change.split([p.shape[0] for p in pieces]), strict=True):
            weight = piece.of(piece.parameter)
            weight.mul_(kept).sub_(part, alpha=lr)


def pieces(model: nn.Module) -> list[Piece]:
    """All parameters of a model, cut into matrices; other parameters become 1 x 1 matrices."""
    layers = (m for m in model.modules() if isinstance(m, Linear | Contraction))
    of_layers = {layer.weight: layer.matrices for layer in layers}
    result = []
    for parameter in model.parameters():
        sides = (1, 1, *parameter.shape)
        whole = (prod(sides[:-2]), *sides[-2:])
        start = 0
        for shape in of_layers.get(parameter, [whole]):
            if 1 in shape[1:]:
                shape = (prod(shape), 1, 1)
            result.append(Piece(parameter, start, shape))
            start += prod(shape)
    return result


def _gradient(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _basis(
    grad: Tensor, state: dict[str, Any], name: str, decay: float, every: int
) -> Tensor | None:
    """The bases [k, m, m] of the rows of matrices [k, m, n]; None: no rotation.

    There are none before step `every`: the eigenvectors of a few gradients are rounding errors.
    """
    if not 1 < grad.shape[1] <= LARGEST:
        return None
    moment, basis = grad @ grad.mT, f"basis of {name}"
    state.setdefault(name, torch.zeros_like(moment)).lerp_(moment, 1 - decay)
    if state["step"] == every:
        vectors = torch.linalg.eigh(state[name].double()).eigenvectors
        state[basis] = vectors.flip(-1).to(grad)  # the largest first, an order that QR preserves
    elif state["step"] % every == 0:
        state[basis] = torch.linalg.qr(state[name] @ state[basis]).Q
    return state.get(basis)


def _rotated(matrix: Tensor, u: Tensor | None, v: Tensor | None) -> Tensor:
    """U^T M V."""
    matrix = matrix if u is None else u.mT @ matrix
    return matrix if v is None else matrix @ v
