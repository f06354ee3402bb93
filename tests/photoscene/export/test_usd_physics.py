"""A USD stage with bodies: what another reader computes of their mass, and pxr's own validators."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scene.store import Store
from support.placed_runs import letters, write_placed_run
from support.small_photo import call

MASS_KG = 0.084 * 8 * 1000  # the letter F at twice its size


@pytest.mark.extra("usd")
@pytest.mark.extra("physics")
@pytest.mark.parametrize(("unit", "lengths"), [("m", 1.0), ("cm", 100.0)])
def test_bodies_have_mass_and_colliders_and_are_valid(
    tmp_path: Path, unit: str, lengths: float
) -> None:
    pxr: Any = pytest.importorskip("pxr")
    from pxr import Usd, UsdGeom, UsdPhysics, UsdValidation  # pyright: ignore

    assert pxr
    run = write_placed_run(tmp_path / "table", Store(tmp_path / "store"), letters("cup", "mug"))
    done = call("export", run, "--format", "usd", "--unit", unit, "--colliders")
    assert done.exit_code == 0, done.stderr
    stage = Usd.Stage.Open(str(run / "export" / "table.usd"))
    assert UsdPhysics.GetStageKilogramsPerUnit(stage) == 1
    for name in ("cup", "mug"):
        prim = stage.GetPrimAtPath(f"/table/{name}")
        assert prim.HasAPI(UsdPhysics.RigidBodyAPI)
        mass = UsdPhysics.MassAPI(prim)
        assert mass.GetMassAttr().Get() == pytest.approx(MASS_KG, rel=1e-5)
        moments = np.array(mass.GetDiagonalInertiaAttr().Get()) / lengths**2
        turn = mass.GetPrincipalAxesAttr().Get().GetNormalized()
        axes = np.array([turn.Transform(type(turn.GetImaginary())(*row)) for row in np.eye(3)]).T
        # About its centre, with y up: the middle of its depth lies at z = -0.05.
        inertia = axes @ np.diag(moments) @ axes.T
        assert inertia[1, 1] == pytest.approx(85.86, rel=1e-3)
        assert inertia[0, 0] == pytest.approx(209.6, rel=1e-3)
        assert inertia[0, 1] == pytest.approx(-38.2, rel=1e-3)
        parts = stage.GetPrimAtPath(f"/table/{name}/colliders").GetChildren()
        assert 3 <= len(parts) <= 16
        assert all(p.HasAPI(UsdPhysics.CollisionAPI) for p in parts)
        points = np.concatenate([np.array(UsdGeom.Mesh(p).GetPointsAttr().Get()) for p in parts])
        np.testing.assert_allclose(np.ptp(points, axis=0) / lengths, [1.3, 1.8, 0.7], atol=1e-4)
    validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    assert not UsdValidation.ValidationContext(validators).Validate(stage)
