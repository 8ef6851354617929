"""The kernels of escnn: as many as ours, equivariant, and rivals in the studies.

Without escnn (`pip install "sikff[escnn]"`) only what is said then is tested.
"""

import importlib.util
import sys

import numpy as np
import pytest
import torch

from sikff.field_types import FieldType
from sikff.groups import SymmetryGroup
from sikff.groups.couplings import clebsch_gordan
from sikff.nn import SquaredNorms, neighbour_layout
from sikff.training.studies.escnn_kernel import SPACES, AnalyticConvolution
from sikff.training.studies.model_size import count_weights
from sikff.training.studies.molecules.molecule_files import Molecule
from sikff.training.studies.molecules.molecule_graphs import graphs_of
from sikff.training.studies.molecules.property_model import PropertySettings
from sikff.training.studies.molecules.property_model import build as build_property_model
from sikff.training.studies.shapes.shape_network import build as build_classifier
from sikff.training.studies.shapes.shapes_study import ShapesSettings
from symmetry_cases import elements, outside, randn, relative_error
from tolerances import TOLERANCES

needs_escnn = pytest.mark.skipif(
    importlib.util.find_spec("escnn") is None, reason="escnn is not installed"
)
# theirs: deprecations while they build tables
quiet = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
THEIRS = 1e-6  # their tables are in float32
GROUPS = ["SO(2)", "C_inf_v", "D_inf", "C_inf_h", "SO(3)", "O(3)", "Cs", "Ci", "C1", "C3v", "D3"]
EDGES = torch.stack([torch.arange(6).repeat_interleave(6), torch.arange(6).repeat(6)])


def made(group: str) -> AnalyticConvolution:
    symmetry = SymmetryGroup(group, axis=(1, 2, 2))
    in_type = FieldType.scalar(symmetry) + FieldType.vector(symmetry)
    out_type = FieldType.harmonic(symmetry, 1, 2) + FieldType.scalar(symmetry)
    return AnalyticConvolution(in_type, out_type, rings=3, extent=2.0).double()


@needs_escnn
@quiet
@pytest.mark.parametrize("group", GROUPS)
def test_equivariance(group: str) -> None:
    """Under its group, whatever its axis, and not under a larger one."""
    layer = made(group).requires_grad_(False)
    f, x = randn(6, 4, seed=0), randn(6, 3, seed=1)

    def turned(g: torch.Tensor) -> torch.Tensor:
        moved = x @ g.T
        vectors = moved[EDGES[1]] - moved[EDGES[0]]
        return layer(torch.cat([f[:, :1], f[:, 1:] @ g.T], dim=1), vectors, EDGES)

    identity = torch.eye(3).double()
    expected = turned(identity)
    assert float(expected.square().mean()) > 0.1
    symmetry = layer.in_type.group
    for g in elements(symmetry):
        wanted = expected @ layer.out_type.representation(g).T
        assert relative_error(turned(g), wanted) < THEIRS
    norms = SquaredNorms(layer.out_type).double()
    larger = SymmetryGroup("O(3)")
    stretch = torch.diag(torch.tensor([1.0, 1.0, 1.5])).double()[None]
    for g in stretch if symmetry == larger else outside(larger, symmetry):
        assert relative_error(norms(turned(g)), norms(expected)) > 1e-3


@needs_escnn
@quiet
@pytest.mark.parametrize("group", GROUPS)
def test_as_many_kernels_as_ours(group: str) -> None:
    """The one-layer kernel's: every Clebsch-Gordan path from harmonics and input to output."""
    layer = made(group)
    expected = sum(
        harmonic.copies * len(clebsch_gordan(harmonic.irrep, source.irrep, out.irrep))
        for harmonic in layer.harmonics.out_type.blocks
        for source in layer.in_type.canonical.blocks
        for out in layer.out_type.canonical.blocks
    )
    tables = layer.constants.values()
    assert sum(map(len, tables)) == expected > 0
    for table in tables:  # and none of them depends on the others
        rank = torch.linalg.matrix_rank(torch.from_numpy(table).flatten(1), rtol=THEIRS)
        assert int(rank) == len(table)


@needs_escnn
@quiet
def test_a_subset_of_receivers_gets_the_same_features() -> None:
    layer = made("SO(2)").requires_grad_(False)
    f, vectors = randn(6, 4, seed=0), randn(12, 3, seed=1)
    everywhere = layer(f, vectors, EDGES[:, :12])
    few = layer(f, vectors, EDGES[:, :12], layout=neighbour_layout(EDGES[:, :12], 2, f.dtype))
    assert relative_error(few, everywhere[:2]) < TOLERANCES[torch.float64].parity
    assert float(everywhere[2:].abs().max()) == 0


@needs_escnn
@quiet
@pytest.mark.parametrize("group", ["SO(2)", "O(3)"])
def test_classifiers_are_as_large(group: str) -> None:
    study = ShapesSettings(group=group, kernel="escnn")
    model = build_classifier(
        SymmetryGroup(group),
        12,
        spacings=(1.0,) * study.layers,
        n_neighbours=study.n_neighbours,
        kernel=study.kernel,
        n_parameters=study.weights,
        seed=0,
    )
    assert count_weights(model) == pytest.approx(study.weights, rel=0.1)


@needs_escnn
@quiet
def test_property_models_are_as_large() -> None:
    bonds, orders = np.array([[0, 1], [0, 2]]), np.array([1, 1])
    water = Molecule("water", np.array([8, 1, 1]), randn(3, 3, seed=0).numpy(), bonds, orders)
    sizes = {
        variant: count_weights(build_property_model(settings, graphs_of([water])))
        for variant in ("analytic", "escnn")
        for settings in [PropertySettings(variant=variant)]
    }
    assert sizes["escnn"] == pytest.approx(sizes["analytic"], rel=0.1)


@needs_escnn
def test_groups_unknown_to_escnn_raise() -> None:
    with pytest.raises(ValueError, match=r"are there for SO\(2\), .*; got D3h"):
        ShapesSettings(group="D3h", kernel="escnn")
    assert "D3h" not in SPACES


def test_attributes_raise() -> None:
    scalar = FieldType.scalar(SymmetryGroup("SO(2)"))
    with pytest.raises(ValueError, match="escnn's kernels see no attributes"):
        AnalyticConvolution(scalar, scalar, scalar)


@pytest.mark.parametrize("settings", [ShapesSettings, PropertySettings])
def test_a_missing_escnn_raises(settings: type, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "escnn", None)
    escnn = {"kernel": "escnn"} if settings is ShapesSettings else {"variant": "escnn"}
    with pytest.raises(ValueError, match=r'run `pip install "sikff\[escnn\]"`'):
        settings(**escnn)
