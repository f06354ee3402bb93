"""Robot models hold bodies with mass and colliders, and MuJoCo loads them."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from photoscene.physics import bodies
from scene.store import Store
from support.placed_runs import letters, write_placed_run
from support.small_photo import call

# The volume of the letter F is 0.084, its size twice that of its mesh; the density is 250.
MASS_KG = 0.084 * 8 * 250
NAMES = ("cup", "world", "red mug")
BODIES = ["cup", "world_body", "red_mug"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_placed_run(tmp_path / "table", Store(tmp_path / "store"), letters(*NAMES))


def export(run: Path, *options: object) -> Path:
    done = call("export", run, "--format", "mjcf,urdf", "--density", 250, *options)
    assert done.exit_code == 0, done.stderr
    return run / "export"


def test_masses_places_and_one_hull_each_need_no_library(run: Path) -> None:
    folder = export(run)
    mjcf = ElementTree.parse(folder / "table.xml").getroot()
    urdf = ElementTree.parse(folder / "table.urdf").getroot()
    found = mjcf.findall("worldbody/body")
    links = [link for link in urdf.findall("link") if link.get("name") != "world"]
    assert [b.get("name") for b in found] == [e.get("name") for e in links] == BODIES
    for body, link, joint in zip(found, links, urdf.findall("joint"), strict=True):
        origin = joint.find("origin")
        assert origin is not None and origin.get("xyz") == body.get("pos")
        assert len(body.findall("geom")) == 2 and len(link.findall("collision")) == 1
        masses = [body.find("inertial").get("mass"), link.find("inertial/mass").get("value")]  # type: ignore[union-attr]
        assert [float(m) for m in masses if m] == pytest.approx([MASS_KG] * 2)
    for file in folder.glob("table_meshes/*_part_*.obj"):
        assert file.read_text().startswith("v ")


def test_colliders_without_the_library_are_refused_in_one_line(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("photoscene.export.run.LIBRARIES", {"no_coacd": bodies.PHYSICS_EXTRA})
    done = call("export", run, "--format", "mjcf", "--colliders")
    assert done.exit_code == 3 and not (run / "export").exists()
    expected = "photoscene: --colliders needs no_coacd: pip install -e '.[physics]'"
    assert done.stderr.strip() == expected
    done = call("export", run, "--format", "mjcf", "--density", 0)
    assert done.exit_code == 2 and "--density 0" in done.stderr


@pytest.mark.extra("physics")
@pytest.mark.parametrize("file", ["table.xml", "table.urdf"])
def test_mujoco_loads_a_scene_with_its_colliders(run: Path, file: str) -> None:
    mujoco = pytest.importorskip("mujoco")
    model = mujoco.MjModel.from_xml_path(str(export(run, "--colliders") / file))
    assert [model.body(i).name for i in range(1, model.nbody)] == BODIES
    np.testing.assert_allclose(model.body_mass[1:], MASS_KG, rtol=1e-5)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    # The letter's base: 0.1 above the floor that lies 1.5 below the camera.
    np.testing.assert_allclose(data.xpos[1], [0.05, 2.85, 0.1], atol=1e-6)
    collide = (model.geom_contype > 0) & (model.geom_bodyid > 0)
    assert 9 <= collide.sum() <= 3 * 16
    # An object's parts together reach as far as the letter: 0.9 times 2 up from its base.
    points = []
    for geom in np.flatnonzero(collide & (model.geom_bodyid == 1)):
        mesh = model.geom_dataid[geom]
        first = model.mesh_vertadr[mesh]
        own = model.mesh_vert[first : first + model.mesh_vertnum[mesh]]
        points.append(own @ data.geom_xmat[geom].reshape(3, 3).T + data.geom_xpos[geom])
    low, high = np.concatenate(points).min(0), np.concatenate(points).max(0)
    np.testing.assert_allclose(high - low, [1.3, 0.7, 1.8], atol=1e-5)
    assert low[2] == pytest.approx(0.1, abs=1e-5)
