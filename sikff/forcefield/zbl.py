"""The screened repulsion of nuclei at short range."""

import numpy as np
import torch
from ase.data import atomic_numbers, covalent_radii
from torch import Tensor

from sikff.graph import AtomicGraph
from sikff.nn.constants import ConstantModule
from sikff.nn.radial import PolynomialEnvelope

COULOMB = 14.399645  # e^2 / (4 pi eps0), eV Å
BOHR = 0.529177  # Å
_COEFFICIENTS = (0.1818, 0.5099, 0.2802, 0.02817)  # of the universal screening function
_EXPONENTS = (3.2, 0.9423, 0.4028, 0.2016)


class ZBL(ConstantModule):
    """Screened nuclear repulsion of Ziegler, Biersack and Littmark (1985).

    The energy of a pair goes to zero (C^3) at the sum of its covalent radii, or at the cutoff if
    that is less: bonds are left to the network.

    Args:
        elements: chemical symbols.
        cutoff: Å.
    """

    charges: Tensor
    radii: Tensor

    def __init__(self, elements: tuple[str, ...], cutoff: float) -> None:
        super().__init__()
        numbers = np.array([atomic_numbers[e] for e in elements])
        self.register_constant("charges", numbers)
        self.register_constant("radii", covalent_radii[numbers])
        self.envelope, self.cutoff = PolynomialEnvelope(1.0), cutoff

    def forward(self, r: Tensor, graph: AtomicGraph) -> Tensor:
        """Atomic energies [N] (eV, float64) for edge lengths r [E] (Å)."""
        receivers, senders = graph.edge_index
        r = r.double()
        z_i, z_j = (self.charges[graph.species[k]].double() for k in (receivers, senders))
        r_i, r_j = (self.radii[graph.species[k]].double() for k in (receivers, senders))
        reach = (r_i + r_j).clamp(max=self.cutoff)
        x = r * (z_i**0.23 + z_j**0.23) / (0.8854 * BOHR)  # r / screening length
        screening = sum(
            c * torch.exp(-e * x) for c, e in zip(_COEFFICIENTS, _EXPONENTS, strict=True)
        )
        pair = COULOMB * z_i * z_j / r * screening * self.envelope(r / reach)
        return r.new_zeros(graph.n_atoms).index_add(0, receivers, 0.5 * pair)
