"""An interaction layer: messages from neighbours, then a many-body update."""

from typing import cast

import torch
from torch import Tensor, nn

from sikff.field_types import FieldType
from sikff.forcefield.config import ForceFieldConfig
from sikff.nn import (
    ChannelLinear,
    ChannelProduct,
    EdgeBasis,
    NeighbourLayout,
    PointConv,
    SplineBasis,
)
from sikff.nn.kernel import restricted_irreps
from sikff.nn.weight_cache import cached


class Interaction(nn.Module):
    """Messages from neighbours, then a many-body update:

        A_i = sum_j k(r_ij, z_i, z_j, a_i) f_j                       (paper, equation 5)
        B_i = L1 A_i + L2 (A_i * A'_i) + L3 (A_i * A'_i * A''_i)     (* Clebsch-Gordan, by channel)
        f_i <- L0 f_i + B_i

    with A multiplied by gates of the receiver's species, environment and shares of charge and spin,
    and A', A'' linear maps of A. Where receivers have covariant attributes p, A + A * p stands for
    A. Without neighbours A = B = 0.

    Args:
        in_type, hidden_type, out_type: types of f_j, A_i and the new f_i, of the group of the
            attributes or of a larger one; these are then restricted.
        attr_type: type of the edge attributes.
        n_gates: number of node attributes that gate A.
        keep: whether the result contains L0 f_i.
        n_shares: number of further node attributes that gate A: shares of charge and spin.
        covariant_type: type of the covariant attributes; multiplicities are those of hidden_type.
    """

    component: Tensor  # irreducible field of each component of A

    def __init__(
        self,
        in_type: FieldType,
        hidden_type: FieldType,
        out_type: FieldType,
        attr_type: FieldType,
        config: ForceFieldConfig,
        n_gates: int,
        keep: bool,
        n_shares: int = 0,
        covariant_type: FieldType | None = None,
    ) -> None:
        super().__init__()
        group, degree = attr_type.group, max(config.max_frequency, 1)
        irreps = None
        if group != in_type.group:
            irreps = restricted_irreps(in_type, hidden_type, degree, group)
            types = (in_type, hidden_type, out_type)
            in_type, hidden_type, out_type = (t.restrict(group) for t in types)
        self.conv = PointConv(
            in_type,
            hidden_type,
            attr_type,
            hidden_fields=config.kernel_fields,
            layers=config.kernel_layers,
            width=config.kernel_width,
            max_degree=degree,
            irreps=irreps,
            nonlinearity="gated",
            cutoff=config.cutoff,
            n_radial=config.radial_functions,
            scale=config.average_neighbours**-0.5,
        )
        self.channels, self.out_type = config.channels, out_type
        n_fields = hidden_type.n_fields // self.channels
        self.gate = nn.Parameter(torch.zeros(n_gates, n_fields, self.channels))
        self.share_gate = None
        if n_shares:
            self.share_gate = nn.Parameter(torch.zeros(n_shares, n_fields, self.channels))
        self.steer = None
        if covariant_type is not None and covariant_type.size:
            types = (hidden_type, covariant_type, hidden_type)
            self.steer = ChannelProduct(*types, channels=self.channels)
            self.steer.weight.data.zero_()
        dims = [block.irrep.dim for block in hidden_type.blocks]
        copies = [block.copies // self.channels for block in hidden_type.blocks]
        fields = torch.arange(n_fields).split(copies)
        component = torch.cat([f.repeat(dim) for f, dim in zip(fields, dims, strict=True)])
        self.register_buffer("component", component, persistent=False)
        gain = (config.correlation + keep) ** -0.5  # of each term of the sum
        self.linear = nn.ModuleList([ChannelLinear(hidden_type, out_type, gain)])
        self.mix, self.product = nn.ModuleList(), nn.ModuleList()
        for power in range(2, config.correlation + 1):
            last = power == config.correlation
            product_type = out_type if last else hidden_type
            self.mix.append(ChannelLinear(hidden_type, hidden_type))
            types = (hidden_type, hidden_type, product_type)
            self.product.append(ChannelProduct(*types, channels=self.channels))
            self.linear.append(ChannelLinear(product_type, out_type, gain))
        self.keep = ChannelLinear(in_type, out_type, gain) if keep else None

    def forward(
        self,
        f: Tensor,
        own: Tensor,
        gates: Tensor,
        edges: EdgeBasis | SplineBasis,
        layout: NeighbourLayout,
    ) -> Tensor:
        """New features [M, d_out] of M receivers.

        Args:
            f: features of the senders [N, d_in].
            own, gates: features [M, d_in] and node attributes of the receivers
                [M, n_gates + n_shares + d_covariant].
            edges: in the layout's slots [P, ...].
            layout: of the edges.
        """
        summed = self._channels_of(self.conv.gather(f, edges, layout))
        n_gates, n_shares = len(self.gate), 0
        gate = cached(self, self._gate) @ gates[:, :n_gates].T
        if self.share_gate is not None:  # a sum of its own, to which zeros add exactly nothing
            n_shares = len(self.share_gate)
            shares = gates[:, n_gates : n_gates + n_shares]
            gate = gate + cached(self, self._share_gate) @ shares.T
        a = (1 + gate).view_as(summed) * summed
        if self.steer is not None:
            a = a + self.steer(summed, self._channels_of(gates[:, n_gates + n_shares :]))
        first, *others = self.linear
        result, power = first(a), a
        for mix, product, linear in zip(self.mix, self.product, others, strict=True):
            power = product(power, mix(a))
            result = result + linear(power)
        if self.keep is not None:
            result = result + self.keep(self._channels_of(own))
        return result.flatten(0, 1).T

    def _channels_of(self, f: Tensor) -> Tensor:
        """Features [M, d] as [D, C, M], the layout that channelwise layers compute with."""
        return f.T.unflatten(0, (-1, self.channels))

    def _gate(self) -> Tensor:
        """The matrix [d, n_gates] from node attributes to the gate of every component of A."""
        return self._of_components(self.gate)

    def _share_gate(self) -> Tensor:
        """The same of shares [d, n_shares]."""
        return self._of_components(cast(Tensor, self.share_gate))

    def _of_components(self, gate: Tensor) -> Tensor:
        return gate.index_select(1, self.component).flatten(1).T
