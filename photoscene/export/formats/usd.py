"""usd, usdz: OpenUSD with UsdPreviewSurface; a component for every object.

usd has its textures beside it; usdz is one package as Quick Look takes it: y up, metres.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from photoscene.export.formats.glb import camera_pose
from photoscene.export.formats.usd_physics import add_body, add_physics_scene
from photoscene.export.model import (
    EXPORT_EXTRA,
    METRES,
    Exporter,
    ExportObject,
    ExportScene,
    without_lists,
)
from photoscene.export.names import CAMERA_NODE, plain_name
from photoscene.export.textures import TextureFiles, write_textures
from scene.errors import CannotRun
from scene.glb import METALLIC, ROUGHNESS
from scene.normals import smooth_normals
from scene.types import Camera, Float64

APERTURE_MM = 36.0  # of a full-frame camera: only its ratio to the focal length counts
DISK = "free some space, or give another -o"
CLIPPING_M = (0.001, 1000.0)
FLAT_NORMAL = ((2.0, 2.0, 2.0, 1.0), (-1.0, -1.0, -1.0, 0.0))  # scale and bias of 8-bit maps
LABELS_OF = "category"  # the taxonomy under which training tools look for labels


def write_usd(scene: ExportScene, folder: Path) -> None:
    """NAME.usd, binary, and the textures in NAME_textures/."""
    with _one_line("usd", folder):
        _write_stage(scene, folder, f"{scene.name}.usd")


def write_usdz(scene: ExportScene, folder: Path) -> None:
    """NAME.usdz."""
    Sdf, UsdUtils = _pxr("Sdf", "UsdUtils")
    earliest = time.mktime((1980, 1, 1, 0, 0, 0, 0, 0, -1))  # that a zip file can have
    with _one_line("usdz", folder), tempfile.TemporaryDirectory(dir=folder) as parts:
        stage = _write_stage(scene, Path(parts), f"{scene.name}.usdc")
        for path in Path(parts).rglob("*"):
            os.utime(path, (earliest, earliest))  # the package has them: same scene, same bytes
        package = folder / f"{scene.name}.usdz"
        if not UsdUtils.CreateNewUsdzPackage(Sdf.AssetPath(str(stage)), str(package)):
            raise CannotRun(f"format usdz: {package} could not be written: {DISK}")


@contextlib.contextmanager
def _one_line(name: str, folder: Path) -> Iterator[None]:
    """The library's own errors are those of the disk here: a full one above all."""
    (Tf,) = _pxr("Tf")
    try:
        yield
    except Tf.ErrorException as error:
        reason = str(error).partition(" : '")[2].partition("'")[0]
        raise CannotRun(
            f"format {name}: {folder.parent} could not be written ({reason}): {DISK}"
        ) from None


def _pxr(*names: str) -> Iterator[Any]:
    """Modules of usd-core."""
    return (importlib.import_module(f"pxr.{name}") for name in names)


def _write_stage(scene: ExportScene, folder: Path, file: str) -> Path:
    Kind, Usd, UsdGeom = _pxr("Kind", "Usd", "UsdGeom")
    stage = Usd.Stage.CreateNew(str(folder / file))
    UsdGeom.SetStageUpAxis(stage, scene.up.upper())
    UsdGeom.SetStageMetersPerUnit(stage, METRES[scene.unit])
    root = UsdGeom.Xform.Define(stage, f"/{plain_name(scene.name, 'scene')}").GetPrim()
    stage.SetDefaultPrim(root)
    Usd.ModelAPI(root).SetKind(Kind.Tokens.assembly)
    root.SetCustomData(without_lists(scene.metadata))
    for o in scene.objects:
        path = root.GetPath().AppendChild(o.key)
        _add_object(stage, path, o, folder, scene.textures)
        if o.body is not None:
            add_body(stage, stage.GetPrimAtPath(path), o.body, scene.unit)
    if any(o.body is not None for o in scene.objects):
        add_physics_scene(stage, root)
    if scene.camera is not None:
        _add_camera(stage, root.GetPath().AppendChild(CAMERA_NODE), scene, scene.camera)
    stage.GetRootLayer().Save()
    return Path(stage.GetRootLayer().realPath)


def _add_object(stage: Any, path: Any, o: ExportObject, folder: Path, textures: str) -> None:
    Gf, Kind, Sdf, Usd = _pxr("Gf", "Kind", "Sdf", "Usd")
    UsdGeom, UsdSemantics, UsdShade = _pxr("UsdGeom", "UsdSemantics", "UsdShade")
    node = UsdGeom.Xform.Define(stage, path)
    node.AddTranslateOp().Set(Gf.Vec3d(*o.position.tolist()))
    prim = node.GetPrim()
    Usd.ModelAPI(prim).SetKind(Kind.Tokens.component)
    prim.SetDisplayName(o.name)
    prim.SetCustomData(without_lists(o.metadata))
    if o.label:
        labels = UsdSemantics.LabelsAPI.Apply(prim, LABELS_OF)
        labels.CreateLabelsAttr().Set([o.label])
    for name, value in without_lists(o.metadata).items():
        if isinstance(value, str):  # Blender and others show these with the object
            attribute = prim.CreateAttribute(f"userProperties:{name}", Sdf.ValueTypeNames.String)
            attribute.Set(value)
    mesh = _add_mesh(stage, path.AppendChild(o.key), o)
    material = _add_material(
        stage, path.AppendChild(f"{o.key}_material"), write_textures(o, folder, textures)
    )
    UsdShade.MaterialBindingAPI.Apply(mesh.GetPrim()).Bind(material)


def _add_mesh(stage: Any, path: Any, o: ExportObject) -> Any:
    Sdf, UsdGeom, Vt = _pxr("Sdf", "UsdGeom", "Vt")
    mesh, normals = o.mesh, o.mesh.normals
    if normals is None:
        normals = smooth_normals(mesh.vertices, mesh.faces)
    shape = UsdGeom.Mesh.Define(stage, path)
    shape.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(mesh.vertices))
    shape.CreateFaceVertexCountsAttr(Vt.IntArray.FromNumpy(np.full(len(mesh.faces), 3, np.int32)))
    indices = np.ascontiguousarray(mesh.faces.reshape(-1), np.int32)
    shape.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(indices))
    shape.CreateNormalsAttr(Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(normals, np.float32)))
    shape.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
    shape.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    shape.CreateDoubleSidedAttr(mesh.material.double_sided)
    extent = np.array([mesh.vertices.min(0), mesh.vertices.max(0)], np.float32)
    shape.CreateExtentAttr(Vt.Vec3fArray.FromNumpy(extent))
    coordinates = np.stack([mesh.uv[:, 0], 1 - mesh.uv[:, 1]], 1).astype(np.float32)
    primvar = UsdGeom.PrimvarsAPI(shape).CreatePrimvar(
        "st", Sdf.ValueTypeNames.TexCoord2fArray, UsdGeom.Tokens.vertex
    )
    primvar.Set(Vt.Vec2fArray.FromNumpy(coordinates))
    return shape


def _add_material(stage: Any, path: Any, maps: TextureFiles) -> Any:
    """A UsdPreviewSurface with what maps there are."""
    Sdf, UsdShade = _pxr("Sdf", "UsdShade")
    types = Sdf.ValueTypeNames
    material = UsdShade.Material.Define(stage, path)
    surface = UsdShade.Shader.Define(stage, path.AppendChild("surface"))
    surface.CreateIdAttr("UsdPreviewSurface")
    material.CreateSurfaceOutput().ConnectToSource(surface.ConnectableAPI(), "surface")
    reader = UsdShade.Shader.Define(stage, path.AppendChild("st"))
    reader.CreateIdAttr("UsdPrimvarReader_float2")
    reader.CreateInput("varname", types.String).Set("st")
    coordinates = reader.CreateOutput("result", types.Float2)

    def connect(name: str, kind: Any, file: str, channels: str, space: str) -> Any:
        texture = UsdShade.Shader.Define(stage, path.AppendChild(f"{name}_map"))
        texture.CreateIdAttr("UsdUVTexture")
        texture.CreateInput("file", types.Asset).Set(f"./{file}")
        texture.CreateInput("st", types.Float2).ConnectToSource(coordinates)
        texture.CreateInput("sourceColorSpace", types.Token).Set(space)
        for wrap in ("wrapS", "wrapT"):
            texture.CreateInput(wrap, types.Token).Set("clamp")
        output = texture.CreateOutput(channels, types.Float3 if channels == "rgb" else types.Float)
        surface.CreateInput(name, kind).ConnectToSource(output)
        return texture

    connect("diffuseColor", types.Color3f, maps.base_colour, "rgb", "sRGB")
    for name, file, value in (
        ("roughness", maps.roughness, ROUGHNESS),
        ("metallic", maps.metallic, METALLIC),
        ("opacity", maps.alpha, 1.0),
    ):
        if file:
            connect(name, types.Float, file, "r", "raw")
        else:
            surface.CreateInput(name, types.Float).Set(value)
    if maps.normal:
        texture = connect("normal", types.Normal3f, maps.normal, "rgb", "raw")
        for name, value in zip(("scale", "bias"), FLAT_NORMAL, strict=True):
            texture.CreateInput(name, types.Float4).Set(value)
    return material


def _add_camera(stage: Any, path: Any, scene: ExportScene, camera: Camera) -> None:
    """The photo's camera, looking along its -z with y up, as USD has it, too."""
    Gf, UsdGeom = _pxr("Gf", "UsdGeom")
    shape = UsdGeom.Camera.Define(stage, path)
    pose: Float64 = camera_pose(scene)
    shape.AddTransformOp().Set(Gf.Matrix4d(pose.T.tolist()))  # USD multiplies rows
    height_mm = APERTURE_MM * camera.height * camera.fx_px / (camera.width * camera.fy_px)
    clipping = Gf.Vec2f(*(np.array(CLIPPING_M) / METRES[scene.unit]).tolist())
    shape.CreateClippingRangeAttr(clipping)  # from 1 by default, which cuts what is nearer
    shape.CreateHorizontalApertureAttr(APERTURE_MM)
    shape.CreateVerticalApertureAttr(height_mm)
    shape.CreateFocalLengthAttr(APERTURE_MM * camera.fx_px / camera.width)
    shape.CreateHorizontalApertureOffsetAttr(APERTURE_MM * (0.5 - camera.cx_px / camera.width))
    shape.CreateVerticalApertureOffsetAttr(height_mm * (camera.cy_px / camera.height - 0.5))


LIBRARIES = {"pxr": EXPORT_EXTRA}
USD = Exporter("usd", write_usd, can_be_physical=True, libraries=LIBRARIES)
USDZ = Exporter("usdz", write_usdz, "m", "y", can_be_physical=True, libraries=LIBRARIES)
