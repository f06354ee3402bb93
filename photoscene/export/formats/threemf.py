"""3mf: closed solids with names, texture and metadata for printers; millimetres and z up."""

from __future__ import annotations

import ctypes
import importlib
import io
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from photoscene.export.model import (
    EXPORT_EXTRA,
    Exporter,
    ExportObject,
    ExportScene,
    asset_json,
    licence_of,
)
from photoscene.export.solids import solid_surface
from scene.keys import digest
from scene.png import encode_png

NAMESPACE = uuid.UUID("5b0c8e2e-6d0c-4a87-9f53-6d5d2f1c9a10")
DETAILS = "urn:photoscene:object"
TEXTURE_RELATION = "http://schemas.microsoft.com/3dmanufacturing/2013/01/3dtexture"


def write(scene: ExportScene, folder: Path) -> None:
    """NAME.3mf."""
    lib3mf = importlib.import_module("lib3mf")
    library = lib3mf.get_wrapper()
    model = library.CreateModel()
    model.SetUnit(lib3mf.ModelUnit.MilliMeter)
    _describe(model.GetMetaDataGroup(), {"Title": scene.name, "Application": "photoscene"})
    if record := asset_json(scene):
        _describe(model.GetMetaDataGroup(), {"asset": record}, DETAILS)
    if licence := licence_of(scene):
        _describe(model.GetMetaDataGroup(), {"LicenseTerms": licence})
    # Identities that follow from the content: the same scene is the same file.
    model.SetBuildUUID(_identity(scene.name))
    for o in scene.objects:
        _add_object(lib3mf, library, model, o)
    (folder / f"{scene.name}.3mf").write_bytes(_encoded(lib3mf, model))


def _encoded(lib3mf: Any, model: Any) -> bytes:
    """The file's bytes. Where the library writes files itself, a full disk ends the process."""
    data = io.BytesIO()
    write = lib3mf.WriteCallback(lambda at, size, _: data.write(ctypes.string_at(at, size)))
    seek = lib3mf.SeekCallback(lambda position, _: data.seek(position))
    model.QueryWriter("3mf").WriteToCallback(write, seek, None)
    return data.getvalue()


def _add_object(lib3mf: Any, library: Any, model: Any, o: ExportObject) -> None:
    vertices, faces, kept = solid_surface(o)
    at = o.position.astype(np.float32)
    solid = model.AddMeshObject()
    solid.SetName(o.name)
    solid.SetUUID(_identity(digest(vertices.tobytes())))
    solid.SetGeometry(_array(lib3mf.Position, vertices - at), _array(lib3mf.Triangle, faces))
    _describe(solid.GetMetaDataGroup(), {"label": o.label, "grade": o.grade}, DETAILS)
    _add_texture(lib3mf, model, solid, o, kept)
    item = model.AddBuildItem(solid, library.GetTranslationTransform(*map(float, at)))
    item.SetUUID(_identity(f"{o.key} on the plate"))


def _add_texture(lib3mf: Any, model: Any, solid: Any, o: ExportObject, kept: Any) -> None:
    picture = model.AddAttachment(f"/3D/Textures/{o.key}.png", TEXTURE_RELATION)
    picture.ReadFromBuffer(encode_png(o.mesh.texture))
    texture = model.AddTexture2DFromAttachment(picture)
    texture.SetContentType(lib3mf.TextureType.PNG)
    group = model.AddTexture2DGroup(texture)
    coordinates = np.stack([o.mesh.uv[:, 0], 1 - o.mesh.uv[:, 1]], 1)
    numbers = np.array(
        [group.AddTex2Coord(lib3mf.Tex2Coord(u, v)) for u, v in coordinates.tolist()], np.uint32
    )
    resource = group.GetResourceID()
    properties = np.zeros((len(kept), 4), np.uint32)
    properties[:, 0], properties[:, 1:] = resource, numbers[o.mesh.faces[kept]]
    solid.SetAllTriangleProperties(_array(lib3mf.TriangleProperties, properties))
    solid.SetObjectLevelProperty(resource, int(numbers[0]))


def _array(kind: Any, values: np.ndarray) -> Any:
    """Rows of numbers as the library's own structures, without a Python object for each."""
    return (kind * len(values)).from_buffer_copy(np.ascontiguousarray(values).tobytes())


def _describe(group: Any, values: dict[str, str], namespace: str = "") -> None:
    for name, value in values.items():
        group.AddMetaData(namespace, name, value, "xs:string", True)


def _identity(name: str) -> str:
    return str(uuid.uuid5(NAMESPACE, name))


EXPORTER = Exporter(
    "3mf", write, unit="mm", up="z", closed=True, libraries={"lib3mf": EXPORT_EXTRA}
)
