"""The external frame: what is outside the molecules, as attributes of atoms."""

import numpy as np
import torch
from torch import Tensor

from sikff.fields import FieldType
from sikff.forcefield.config import ForceFieldConfig
from sikff.graph import AtomicGraph
from sikff.groups.linear_algebra import canonical_basis
from sikff.nn.tables import Tabulated

HEIGHT_FUNCTIONS = 8


class Frame(Tabulated):
    """Attributes that the plane and the field give each atom.

    Heights enter through Gaussians of the height that fade out at ``plane_range``. The field
    enters through its components along directions that G leaves in place (the axis, for axial
    groups), as invariants; if there is none (O(3), SO(3), ...) as a covariant vector. Either way
    field = 0 gives attribute 0.

    Attributes:
        n_scalars: number of invariant attributes of an atom.
        vector_type: type of the covariant attribute, or None.
    """

    directions: Tensor
    normal: Tensor
    origin: Tensor
    centres: Tensor

    def __init__(self, config: ForceFieldConfig) -> None:
        super().__init__()
        group = config.symmetry_group
        self.has_plane = config.frame.plane_origin is not None
        self.has_field = config.frame.field
        self.range = config.frame.plane_range
        invariant = np.mean(group.elements, axis=0)  # projector on the vectors that G keeps
        if group.lie_dimension:
            n = group.axis
            invariant = invariant @ np.outer(n, n) if group.lie_dimension == 1 else 0 * invariant
        kept = canonical_basis((invariant + invariant.T) / 2)
        axis = np.asarray(config.axis) / np.linalg.norm(config.axis)
        if kept.shape[1] == 1:  # the sign of a field is that along the axis as the user gave it
            kept = kept * np.sign(kept[:, 0] @ axis or 1.0)
        self.register_table("directions", kept if self.has_field else kept[:, :0])
        self.vector_type = None
        if self.has_field and kept.shape[1] == 0:
            self.vector_type = FieldType.vector(group)
        self.register_table("normal", axis)
        self.register_table("origin", np.asarray(config.frame.plane_origin or (0, 0, 0)))
        self.register_table("centres", np.linspace(0, 0.75 * self.range, HEIGHT_FUNCTIONS))
        n_field = self.directions.shape[1]
        self.n_scalars = n_field + (HEIGHT_FUNCTIONS if self.has_plane else 0)

    def check_field(self, field: np.ndarray) -> None:
        """Refuse a uniform field [3] (V/Å) that the model cannot answer for.

        Raises:
            ValueError: the model reads no field, or a component of the field is not invariant
                under G (for an axial group: the field is not along the axis).
        """
        magnitude = float(np.linalg.norm(field))
        if magnitude == 0 or self.vector_type is not None:
            return
        if not self.has_field:
            raise ValueError(
                f"electric_field is {field.tolist()} V/Å but the model reads no field; remove the "
                "field, or train a model with frame.field: true"
            )
        kept = self.originals["directions"]
        if np.linalg.norm(field - kept @ (kept.T @ field)) > 1e-6 * magnitude:
            raise ValueError(
                f"electric_field {field.tolist()} V/Å is not along {kept.T.round(4).tolist()}, "
                "which the model's symmetry group keeps; turn the atoms, or use a model of O(3)"
            )

    def scalars(self, graph: AtomicGraph) -> Tensor:
        """Invariant attributes [N, n_scalars], in the dtype of the tables."""
        dtype = self.directions.dtype
        parts = [(graph.field.to(dtype) @ self.directions)[graph.batch]]
        if self.has_plane:
            offset = graph.positions - self.origin.to(graph.positions.dtype)
            height = (offset @ self.normal.to(offset.dtype)).to(dtype).unsqueeze(-1)
            width = self.range / HEIGHT_FUNCTIONS
            x = (height / self.range).clamp(0, 1)
            fade = 1 - x**3 * (10 - x * (15 - 6 * x))  # C^2 at both ends
            parts.append(torch.exp(-0.5 * ((height - self.centres) / width) ** 2) * fade)
        return torch.cat(parts, dim=-1)

    def vectors(self, graph: AtomicGraph) -> Tensor:
        """The covariant attribute [N, 3]: the field of each atom's structure."""
        return graph.field.to(self.directions.dtype)[graph.batch]
