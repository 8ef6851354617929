"""Models with a vacuum network that was trained before."""

from __future__ import annotations

from typing import cast

from torch import Tensor

from sikff.forcefield.config import ForceFieldConfig
from sikff.forcefield.force_field import ForceField
from sikff.forcefield.restrict_model import check_correction, zero_output
from sikff.nn import MLP


def build_corrected(vacuum: ForceField, config: ForceFieldConfig) -> ForceField:
    """A model with ``vacuum_group`` whose vacuum network is that of a trained model.

    The network in the environment returns zero until it is trained, so that the new model predicts
    what the trained one does.

    Args:
        vacuum: the trained model.
        config: as that of the trained model, but for group, axis, environment, vacuum_group
            and E0s.

    Raises:
        ValueError: see :func:`check_correction`.
    """
    check_correction(vacuum.config, config)
    model = ForceField(config).double()
    if model.vacuum is not None:
        model.vacuum.load_state_dict(vacuum.network.state_dict())
    model.load_state_dict(model.state_dict() | _of_shares(vacuum))
    for readout in model.network.readouts:
        zero_output(cast(MLP, readout))
    if model.one_body is not None:
        zero_output(model.one_body)
    model.provenance = vacuum.provenance
    return model.to(next(vacuum.parameters()).device, vacuum.dtype).train(vacuum.training)


def _of_shares(model: ForceField) -> dict[str, Tensor]:
    """Weights of shares that belong to no network."""
    return {
        k: w for k, w in model.state_dict().items() if k.startswith(("shares.", "share_energy"))
    }
