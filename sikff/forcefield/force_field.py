"""The force field: networks, what acts from outside, and energies of free atoms."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
from torch import Tensor

from sikff.forcefield import model_file
from sikff.forcefield.chunks import Chunks, SingleChunk, chunked
from sikff.forcefield.config import ForceFieldConfig
from sikff.forcefield.data_end import DataEnd
from sikff.forcefield.electron_shares import ElectronShares, widened
from sikff.forcefield.energy import EnergyModel
from sikff.forcefield.environment import Environment
from sikff.forcefield.environment_config import EnvironmentConfig
from sikff.forcefield.free_atoms import FreeAtoms
from sikff.forcefield.halo import Halo
from sikff.forcefield.model_file import chosen_dtype
from sikff.forcefield.network import Attributes, Network, joined, one_hot
from sikff.forcefield.restrict_model import (
    attribute_map,
    restrict_network,
    restrict_one_body,
    restrict_places,
    restricted_config,
)
from sikff.forcefield.steerable_attributes import SteerableAttributes
from sikff.forcefield.trained_distances import TrainedDistances
from sikff.forcefield.zbl import ZBL
from sikff.graph import AtomicGraph, Structure
from sikff.graph.conditions import Conditions
from sikff.groups import SymmetryGroup
from sikff.nn import MLP, neighbour_layout
from sikff.nn.neighbour_table import NeighbourTable


class ForceField(EnergyModel):
    """An interatomic potential, equivariant under the group that its config names.

    E = sum_i [ E0(z_i) + energy_scale * e_i ] (+ ZBL, + repulsion where the training data end, see
    :class:`TrainedDistances` and :class:`Environment`), with e_i from a :class:`Network` of G and,
    in an environment, a one-body energy. With ``vacuum_group`` there are two networks: one of
    the larger group that does not see the environment, and one of G that is multiplied by
    the environment's attributes, so that without them the model is exactly the vacuum model.
    If the model reads charge or spin, its networks see each atom's :class:`ElectronShares`, and
    energies linear in them are added. A neutral atom without unpaired electrons, neighbours or
    environment has exactly its E0.

    Called as ``model(graph, forces=True, stress=False)``; see :class:`EnergyModel` for the result.
    Positions may be float64 whatever the dtype of the weights: vectors are taken first and then
    cast; energies are summed in float64.

    Args:
        config: everything but the weights, which are drawn from torch's random generator.
    """

    def __init__(self, config: ForceFieldConfig) -> None:
        super().__init__()
        self.config = config
        self.cutoff, self.elements = config.cutoff, config.elements
        self.surfaces = config.environment.surfaces
        self.provenance: dict[str, Any] = {}
        self.environment = Environment(config)
        n_scalars, n_shares = self.environment.n_scalars, 0
        self.shares = self.share_energy = None
        if config.environment.totals:
            self.shares = ElectronShares(config.environment, len(self.elements))
            n_shares = self.shares.n_attributes
            self.share_energy = torch.nn.Parameter(torch.zeros(n_shares))
        self.steerable = edge_type = covariant_type = None
        n_node, n_factors, n_invariants = len(self.elements) + n_scalars, n_scalars, 0
        if config.environment.kernels_read_field:
            edge_type = self.environment.steerable_type
        elif self.environment.steerable_type is not None:
            attribute_type = self.environment.steerable_type
            self.steerable = SteerableAttributes(config, attribute_type, n_node)
            n_invariants = self.steerable.n_invariants
            covariant_type = self.steerable.covariant_type
            n_factors += self.environment.n_place_invariants
        self.vacuum = None
        if config.vacuum_group is not None:
            larger = SymmetryGroup(config.vacuum_group, config.axis)
            self.vacuum = Network(config, larger, larger, n_shares=n_shares)
        self.network = Network(
            config,
            config.symmetry_group,
            config.symmetry_group_of_types,
            n_out=1 if self.vacuum is None else n_scalars,
            n_scalars=n_scalars,
            n_invariants=n_invariants,
            n_shares=n_shares,
            edge_type=edge_type,
            covariant_type=covariant_type,
        )
        self.one_body = None
        if n_scalars:
            n_inputs = len(self.elements) + n_factors + n_invariants
            self.one_body = MLP([n_inputs, config.readout_width, n_factors])
        self.zbl = ZBL(self.elements, config.cutoff) if config.zbl else None
        self.distances, seen = None, config.distances_seen
        if seen is not None:
            limits = (seen, config.cutoff, config.usual_contacts)
            self.distances = TrainedDistances(self.elements, *limits)
        self.data_end = DataEnd(self.environment, self.distances)
        self._widest = max(n.widest for n in (self.vacuum, self.network) if n is not None)
        self.free_atoms = FreeAtoms([config.atomic_energies.get(e, 0.0) for e in self.elements])

    def freeze(self) -> Self:
        super().freeze()
        for network in filter(None, (self.network, self.vacuum)):
            network.add_splines()
        return self

    @property
    def group(self) -> SymmetryGroup:
        """The symmetry group G."""
        return self.config.symmetry_group

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the weights."""
        return self.network.embedding.dtype

    @property
    def sender_bytes(self) -> int:
        """Bytes of the widest features of a sender."""
        return self._widest * self.dtype.itemsize

    def atomic_energies(
        self,
        graph: AtomicGraph,
        table: NeighbourTable | None = None,
        continued: bool = False,
        halo: Halo | None = None,
    ) -> Tensor:
        """Energy [N] of each atom (eV, float64).

        Args:
            graph: atoms and their edges.
            table: neighbours in fixed shapes, instead of the edges of the graph; the energies are
                the same unless :meth:`is_continued`, and no value is read back from the device.
            continued: compute with a table, too, what the model does where the training data end.
            halo: of atoms of other processes, whose energies are left out.
        """
        owned, dtype = graph if halo is None else halo.owned(graph), self.dtype
        if table is None:
            vectors = graph.vectors()
            layout = neighbour_layout(graph.edge_index, owned.n_atoms, dtype)
            on_device = vectors.device.type != "cpu"
            seen, continuation = self.data_end.continuation(graph, vectors, certain=on_device)
        else:
            vectors, layout = table.vectors(graph.positions), table.layout(dtype)
            graph = dataclasses.replace(graph, edge_index=table.edge_index)
            seen, continuation = vectors, None
            if continued:
                seen, continuation = self.data_end.continuation(graph, vectors, certain=True)
        if self.training or table is not None:
            chunks: SingleChunk | Chunks = SingleChunk(layout, halo)
        else:
            chunks = chunked(layout, self.sender_bytes, vectors.device, halo)
        inputs = (graph.species, seen.to(dtype), graph.edge_index, layout, chunks)
        shares = None if self.shares is None else self.shares(owned, halo)
        attributes, factors = self._attributes(owned, shares)

        e = self.network(*inputs, attributes)
        if self.one_body is not None and factors is not None:
            of_species = one_hot(owned.species, len(self.elements), dtype)
            node = joined(of_species, factors, attributes.invariants)
            in_environment = (self.one_body(node) * factors).sum(-1, keepdim=True)
            if self.vacuum is None:
                e = e + in_environment
            else:
                in_vacuum = self.vacuum(*inputs, Attributes(shares=shares))
                e = (e * attributes.scalars).sum(-1, keepdim=True) + in_environment + in_vacuum
        if shares is not None and self.share_energy is not None:
            e = e + (shares @ self.share_energy).unsqueeze(-1)

        total = (
            self.free_atoms.energies[owned.species] + self.config.energy_scale * e[:, 0].double()
        )
        if self.zbl is not None:
            total = total + chunks.receivers(self.zbl(vectors.norm(dim=-1), graph))
        return total if continuation is None else total + chunks.receivers(continuation)

    def is_continued(self, graph: AtomicGraph) -> bool:
        """Whether the network is not left to itself: where the training data end."""
        return self.data_end.is_reached(graph)

    def is_extrapolating(self, graph: AtomicGraph, table: NeighbourTable) -> Tensor:
        """Whether :meth:`extrapolation_warnings` names a height, and a distance: [2] bool, which is
        not read from the device."""
        graph = dataclasses.replace(graph, edge_index=table.edge_index)
        return self.data_end.is_passed(graph, table.vectors(graph.positions))

    def _attributes(
        self, graph: AtomicGraph, shares: Tensor | None = None
    ) -> tuple[Attributes, Tensor | None]:
        """The attributes of atoms, and the invariants [N, n] that multiply one-body energies: all
        that are zero without an environment."""
        environment = self.environment
        scalars = environment.scalars(graph) if environment.n_scalars else None
        if environment.steerable_type is None:
            return Attributes(scalars, shares=shares), scalars
        steerable = environment.steerable(graph, scalars)
        if self.steerable is None:
            return Attributes(scalars, edges=steerable, shares=shares), scalars
        node = joined(one_hot(graph.species, len(self.elements), self.dtype), scalars)
        invariants, covariants = self.steerable(steerable, node)
        factors = scalars
        if environment.n_place_invariants:
            factors = joined(cast(Tensor, scalars), steerable[:, : environment.n_place_invariants])
        return Attributes(scalars, None, invariants, covariants, shares), factors

    @property
    def field_directions(self) -> np.ndarray:
        """Orthonormal directions [k, 3] along which it reads the electric field; k = 0: none."""
        return self.environment.field_directions

    def check_conditions(self, conditions: Conditions) -> None:
        """Raises ValueError for a field, surface or charge that the model does not support."""
        self.environment.check(conditions)

    def check_cell(self, structure: Structure, conditions: Conditions) -> None:
        """Raises ValueError for a periodic structure that does not repeat as its surface does."""
        self.environment.check_cell(structure, conditions)

    def opened(self, structure: Structure, conditions: Conditions) -> Structure:
        return self.environment.opened(structure, conditions)

    def defined_stress(self, conditions: Conditions) -> np.ndarray:
        return self.environment.defined_stress(conditions)

    def extrapolation_warnings(self, graph: AtomicGraph) -> dict[str, str]:
        """Extrapolation warnings: what is outside the range of the training data, by kind."""
        return self.data_end.warnings(graph)

    def restrict(
        self,
        group: str | None = None,
        axis: Sequence[float] | None = None,
        environment: EnvironmentConfig | None = None,
    ) -> ForceField:
        """A model of a subgroup with the same predictions and all weights that it allows.

        Every equivariant layer of G is a layer of the subgroup H with tied weights. In the new
        model they are not tied, so that it can learn what breaks the symmetry G; maps that only H
        allows start with the weight zero. Models of H can be restricted again. With
        ``vacuum_group`` the network in the environment is restricted. Above a crystal surface the
        model keeps the operations {R|t} with R in H; its environment stays as it is.

        Args:
            group: name of H (default: the model's group; where the environment adds a lattice, its
                point group).
            axis: of H, if this model is one of O(3) or SO(3) (default: the axis of this model).
            environment: that of the model and more: a plane, further surfaces, a lattice, a field,
                charge, spin. Energies do not depend on what is new until it is trained (default:
                the environment of this model).

        Raises:
            ValueError: H is unknown or no subgroup, or the axis or environment cannot change so.
        """
        return build_restricted(self, restricted_config(self.config, group, axis, environment))

    def save(self, path: str | Path, provenance: dict[str, Any] | None = None) -> None:
        """Write the model to one file, which appears under its name only when complete.

        Args:
            path: the file, usually ``*.sikff``.
            provenance: anything JSON that says where the model comes from (None: that of the
                model).

        Raises:
            OSError: it cannot be written; an existing file is then unchanged.
        """
        provenance = self.provenance if provenance is None else provenance
        model_file.save(self, path, self.config, self.dtype, provenance)


def load(
    path: str | Path, device: str | torch.device = "cpu", dtype: str | torch.dtype | None = None
) -> ForceField:
    """Read a model file.

    Args:
        path: a file written by ``model.save``, of this version of sikff or an older one.
        device: where the model goes.
        dtype: "float32", "float64" or the torch dtype; None: as stored.

    Returns:
        The model, in evaluation mode.

    Raises:
        FileNotFoundError, PermissionError: there is no such file, or this user may not read it.
        ValueError: not a model file, damaged, newer than this version of sikff, or made with other
            group-theoretical constants than this version computes; another dtype.
    """
    path = Path(path)
    header, tensors = model_file.read(path)
    stored = getattr(torch, header.dtype)
    wanted = chosen_dtype(dtype) or stored
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        model = ForceField(header.config)
    model.to(stored)
    model_file.load_weights(model, path, header, tensors)
    model.provenance = header.provenance
    return model.to(device, wanted).eval()


def build_restricted(model: ForceField, config: ForceFieldConfig) -> ForceField:
    """A model of the config that :func:`restricted_config` returned, with the same predictions."""
    old = copy.deepcopy(model).cpu().double().requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        new = ForceField(config).double()
    same = config.symmetry_group == old.config.symmetry_group
    same &= (new.steerable is None) == (old.steerable is None)
    if same and new.environment.n_scalars == old.environment.n_scalars:
        new.load_state_dict(new.state_dict() | widened(old.state_dict(), old.shares, new.shares))
        new.provenance = model.provenance
    else:
        _set_weights(old, new)
        before = model.provenance.get("restricted_from", [])
        new.provenance = {**model.provenance, "restricted_from": [*before, model.config.group]}
    return new.to(next(model.parameters()).device, model.dtype).train(model.training)


def _set_weights(old: ForceField, new: ForceField) -> None:
    """Set the weights of ``new`` so that it predicts what ``old`` does; both float64."""
    attributes = attribute_map(old.environment, new.environment)
    same = ("vacuum.", "shares.", "share_energy")  # weights that no group changes
    kept = {key: weight for key, weight in old.state_dict().items() if key.startswith(same)}
    new.load_state_dict(new.state_dict() | widened(kept, old.shares, new.shares))
    selection = (
        None if old.shares is None else cast(ElectronShares, new.shares).selection(old.shares)
    )
    restrict_network(old.network, new.network, attributes, old.vacuum is not None, selection)
    factors = attributes
    if old.environment.places is not None:
        before, after = (cast(SteerableAttributes, each.steerable) for each in (old, new))
        factors = restrict_places(before, after, old.environment, new.environment, attributes)
    if new.one_body is not None:
        restrict_one_body(old.one_body, new.one_body, len(old.elements), factors)
