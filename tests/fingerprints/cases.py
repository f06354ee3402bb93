"""The calls that are fingerprinted: every step and backend that needs no downloaded weights."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from PIL import Image

from fingerprints import inputs
from fingerprints.inputs import NAMES, crop_camera, object_mesh, photo_camera, table
from fingerprints.measure import ROUNDING, fingerprint_of_file
from flows.calls import BUILT_IN, StageCall, backend_call, built_in_call
from flows.compute import produce
from flows.plan import STAGES, STEPS
from flows.steps import photo
from scene.store import Store
from scene.types import Artifact, Cutout, Mask, Photo, PointMap
from stages.devices import ModelPool
from stages.settings import NO_SETTINGS

SIDE_PX = 72  # of a crop
SPARSE, STRETCH = 0.0505, 1.25
Save = Callable[[Any], Artifact]


@dataclass(frozen=True)
class File:
    """A file as a user gives it."""

    data: bytes
    suffix: str = ".png"


@dataclass(frozen=True)
class Case:
    """One call: stage, backend, what is special about it, and its inputs by name.

    inputs: values of the types that the store keeps, or files; rounding: of plain numbers.
    """

    stage: str
    backend: str
    what: str
    inputs: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    needs: str = ""  # a library of an extra
    rounding: float = ROUNDING

    @property
    def subject(self) -> str:
        """What the version is of: "stage/backend"."""
        return f"{self.stage}/{self.backend}"


def call_of(case: Case, store: Store) -> StageCall:
    """The call, with its inputs saved."""
    saved = {
        name: store.save_bytes(value.data, "file", value.suffix)
        if isinstance(value, File)
        else store.save(value)
        for name, value in case.inputs.items()
    }
    if case.backend == BUILT_IN:
        settings = photo.Settings(**case.settings) if case.settings else NO_SETTINGS
        return built_in_call(STEPS[case.stage], "scene", saved, settings)
    return backend_call(STAGES[case.stage], case.backend, case.settings, "scene", saved, 7)


def fingerprint_of(case: Case, store: Store, pool: ModelPool) -> tuple[StageCall, dict[str, Any]]:
    """Carry a call out; the fingerprints of the files that it made, by name."""
    call = call_of(case, store)
    manifest = produce(call, store, pool).manifest
    assert manifest is not None
    return call, {
        name: fingerprint_of_file(store.read(artifact), artifact.suffix)
        for name, artifact in sorted(manifest.outputs.items())
    }


def all_cases() -> list[Case]:
    """Every case, in the order of the stages."""
    groups = (_photo, _segment, _map_points, _crop, _complete, _frame, _generate, _finish,
              _place, _compose)  # fmt: skip
    return [case for group in groups for case in group()]


def _photo() -> Iterator[Case]:
    rgb = table().rgb
    turned = Image.fromarray(rgb).getexif()
    turned[0x0112], turned[0xA405] = 6, 35  # a quarter turn; 35 mm equivalent
    plain = {"max_side_px": 2048}
    yield Case("photo", BUILT_IN, "turned", {"file": _png(rgb, exif=turned)}, plain)
    yield Case("photo", BUILT_IN, "shrunk", {"file": _png(table(3).rgb)}, {"max_side_px": 128})
    alpha = (np.indices(rgb.shape[:2]).sum(0) % 256).astype(np.uint8)
    yield Case("photo", BUILT_IN, "alpha", {"file": _png(np.dstack([rgb, alpha]))}, plain)
    grey = (np.arange(64 * 64) * 16).astype(np.uint16).reshape(64, 64)
    yield Case("photo", BUILT_IN, "16 bit grey", {"file": _png(grey)}, plain)


def _segment() -> Iterator[Case]:
    size, rgb = {"width": 160, "height": 120}, table().rgb
    asked = {"photo": Photo(rgb), "size": size}
    whole = {f"{i:03d}.file": _png(np.uint8(255) * mask) for i, mask in enumerate(table().whole)}
    named = {"asked": {"prompts": [], "labels": list(NAMES)}}
    yield Case("segment", "masks", "overlapping", {**asked, **named, **whole})
    said = {"asked": {"prompts": [
        _prompt("bowl", (80, 34, 124, 66)), _prompt("box", None, (56, 55, True)),
        _prompt("egg", (57, 29, 85, 53), (70, 36, True), (62, 52, False)),
    ], "labels": []}}  # fmt: skip
    yield Case("segment", "grabcut", "prompts", {**asked, **said})
    nothing = {"asked": {"prompts": [], "labels": []}}
    yield Case("segment", "grabcut", "by itself", {**asked, **nothing})
    yield Case("segment", "lite", "by itself", {**asked, **nothing})
    apples = {**_prompt("", None), "text": "apples"}
    words = {"asked": {"prompts": [apples, said["asked"]["prompts"][1]], "labels": []}}
    yield Case("segment", "lite", "words", {**asked, **words})


def _map_points() -> Iterator[Case]:
    size = {"width": 160, "height": 120, "focal_35mm": None}
    given = {"photo": Photo(table().rgb), "size": size}
    known, unknown = {"camera": {"fov_x_deg": 50.0}}, {"camera": {}}
    steps = np.nan_to_num(table().depth * 1000).astype(np.uint16)
    yield Case("map_points", "file", "steps", {**given, **known, "file": _png(steps)})
    yield Case("map_points", "file", "floats", {**given, **unknown, "file": _npy(table().depth)})
    masks = {f"{i:03d}.mask": Mask(table().mask(name)) for i, name in enumerate(NAMES)}
    yield Case("map_points", "ground_plane", "four objects", {**given, **known, **masks})
    alone = {"000.mask": masks["000.mask"]}
    yield Case("map_points", "ground_plane", "unknown camera", {**given, **unknown, **alone})
    yield Case("map_points", "lite", "four objects", {**given, **known, **masks})
    yield Case("map_points", "lite", "unknown camera", {**given, **unknown, **alone})


def _crop() -> Iterator[Case]:
    masks = {f"{i:03d}.mask": Mask(table().mask(name)) for i, name in enumerate(NAMES)}
    given = {"photo": Photo(table().rgb), "point_map": _measured(), "labels": {"labels": NAMES}}
    yield Case("crop", BUILT_IN, "four objects", {**given, **masks})


def _complete() -> Iterator[Case]:
    """The egg behind the box, once as an ellipse and once with a corner that makes it none."""
    camera = crop_camera("egg", SIDE_PX, 1.5)
    rgb = _in_crop(camera, table().rgb)
    seen, box = (_in_crop(camera, table().mask(name)) for name in ("egg", "box"))
    cornered = seen.copy()
    cornered[20:30, 44:56] = True
    for backend in ("passthrough", "inpaint", "lite"):
        for what, mask in {"ellipse": seen, "hull": cornered}.items():
            cut = np.dstack([rgb, mask.astype(np.uint8) * 255])
            given = {"image": Cutout(cut), "occluder": Mask(box), "camera": camera}
            yield Case("complete", backend, what, {**given, "label": {"label": "egg"}})


def _frame() -> Iterator[Case]:
    camera = crop_camera("egg", SIDE_PX, 1.5)
    rgb = _in_crop(camera, table().rgb)
    whole = _in_crop(camera, table().whole[NAMES.index("egg")])
    image = np.dstack([rgb, whole.astype(np.uint8) * 255])
    given = {"image": Cutout(image), "context_camera": camera, "point_map": _measured()}
    yield Case("frame", BUILT_IN, "egg", {**given, "mask": Mask(table().mask("egg"))})


def _generate() -> Iterator[Case]:
    for name in ("bowl", "egg"):
        yield Case("generate", "relief", name, _object_crop(name), {"grid": 24})
    yield Case("generate", "billboard", "bowl", _object_crop("bowl"), {"grid": 16})
    # Of sizes at which no face lies within rounding of being laid flat beside the panels, or not.
    for name, grid in {"bowl": 60, "box": 44, "ball": 100, "egg": 44}.items():
        yield Case("generate", "lite", name, _object_crop(name), {"grid": grid})
    for name, grid in {"bowl": 100, "box": 48}.items():
        guessed = _object_crop(name, guessed=True)
        yield Case("generate", "lite", f"{name}, depth guessed", guessed, {"grid": grid})
    changes = {"torn": (_torn, 48), "sparse": (_sparse, 48), "stretched": (_stretched, 40)}
    for what, (change, grid) in changes.items():
        bowl = _object_crop("bowl")
        bowl["depth"] = replace(bowl["depth"], depth=change(bowl["depth"].depth))
        yield Case("generate", "lite", f"bowl, {what} depth", bowl, {"grid": grid})
    yield Case("generate", "lite", "as released", _object_crop("box"))


def _finish() -> Iterator[Case]:
    crop = _object_crop("bowl")
    mesh = object_mesh("bowl", crop_camera("bowl", SIDE_PX, 1.1))
    given = {"mesh": mesh, "image": crop["image"], "camera": crop["camera"]}
    small = {"faces": 400, "texture_px": 256}
    yield Case("finish", "asset", "bowl", given, small, needs="numba")


def _torn(depth: np.ndarray) -> np.ndarray:
    """Holes all over, and patches off the rest: from just within the cube to far out of it."""
    torn = np.where(np.random.default_rng(2).random(depth.shape) < 0.3, np.nan, depth)
    for index, factor in enumerate((0.75, 0.77, 0.79, 0.81, 0.83, 1.2, 1.23, 1.26, 1.29, 2.5)):
        row, column = 28 + index // 5 * 6, 16 + index % 5 * 8
        torn[row : row + 5, column : column + 5] *= factor
    return torn.astype(np.float32)


def _sparse(depth: np.ndarray) -> np.ndarray:
    """Known over hardly more of the object than what makes it a measured one."""
    known = np.flatnonzero(np.isfinite(depth))
    kept = np.full(depth.size, np.nan, np.float32)
    kept[known[: round(SPARSE * len(known))]] = depth.flat[known[: round(SPARSE * len(known))]]
    return kept.reshape(depth.shape)


def _stretched(depth: np.ndarray) -> np.ndarray:
    """Deeper than wide, so that it reaches just out of the cube."""
    middle = np.nanmedian(depth)
    return (middle + STRETCH * (depth - middle)).astype(np.float32)


def _place() -> Iterator[Case]:
    for backend in ("pixel_aligned", "scale_depth", "umeyama"):
        yield Case("place", backend, "table", _placeable(NAMES))
        for seed in range(3):
            wrong, how = _misread(_placeable(NAMES), seed), {"truncation": (0.1, 0.04, 0.02)[seed]}
            yield Case("place", backend, f"misread map {seed}", wrong, how)
    # What is nearly round may turn as it likes for those that refine a pose, and so does, by
    # rounding, what stands far off: outlines are whole pixels.
    yield Case("place", "layout_refine", "table", _placeable(("bowl", "box")))
    yield Case("place", "layout_refine", "misread map", _misread(_placeable(("bowl", "box")), 1))
    turning = _placeable(("bowl", "box", "egg"))
    # Its correspondences jump from vertex to vertex.
    yield Case("place", "icp", "table", turning, needs="open3d", rounding=2e-3)


def _misread(given: dict[str, Any], seed: int) -> dict[str, Any]:
    """The same with a map that is off: warped as a whole, off by object, with gross errors; and
    with meshes that are too thick or too thin."""
    rng = np.random.default_rng(seed)
    depth = given["point_map"].depth.copy()
    rows, columns = np.indices(depth.shape) / 90
    depth *= 1 + 0.02 * np.sin(rows + rng.uniform(0, 6)) * np.cos(columns + rng.uniform(0, 6))
    for number in sorted(n[:3] for n in given if n.endswith(".mesh")):
        depth[given[f"{number}.mask"].pixels] *= 1 + rng.uniform(-0.03, 0.03)
        mesh, thick = given[f"{number}.mesh"], np.array([1, 1, rng.uniform(0.6, 1.6)])
        vertices = (mesh.vertices * thick).astype(np.float32)
        given[f"{number}.mesh"] = replace(mesh, vertices=vertices)
    wrong = rng.random(depth.shape) < 0.04
    depth[wrong] *= rng.uniform(0.7, 1.5, int(wrong.sum()))
    depth[rng.random(depth.shape) < 0.05] = np.nan
    given["point_map"] = replace(given["point_map"], depth=depth.astype(np.float32))
    return given


def _compose() -> Iterator[Case]:
    placements, names, meshes = {}, {}, {}
    for i, name in enumerate(NAMES[:2]):
        crop, number = crop_camera(name, SIDE_PX), f"{i:03d}"
        distance = crop.camera.fx_px / crop.camera.width
        placements[number] = {
            "camera_from_object": {
                "scale": 0.5 + i / 8,
                "rotation": crop.photo_from_crop.tolist(),
                "translation": (crop.photo_from_crop[:, 2] * distance * (0.5 + i / 8)).tolist(),
            },
            "failure": None,
            "fit": {"scale": 0.5, "distance": 0.5, "residual_median": 0.1, "residual_p90": 0.2,
                    "inlier_share": 0.75, "points": 100, "silhouette_iou": 0.875,
                    "warnings": ["tilted"], "grade": "check"},
        }  # fmt: skip
        names[number] = {"id": f"id{i}", "name": name, "label": name}
        meshes[f"{number}.mesh"] = object_mesh(name, crop)
        meshes[f"{number}.mask"] = Mask(table().mask(name))
    given = {"photo": Photo(table().rgb), "point_map": _measured(), "placements": placements}
    yield Case("compose", "gltf", "two objects", {**given, "names": names, **meshes})


def _measured(scale: int = 1) -> PointMap:
    return PointMap(table(scale).depth, photo_camera(scale), metric=True)


def _object_crop(name: str, guessed: bool = False) -> dict[str, Any]:
    """What generate reads of an object: its picture, its depth and its camera."""
    camera = crop_camera(name, SIDE_PX, 1.1)
    soft = Image.fromarray(_in_crop(camera, table(3).whole[NAMES.index(name)], 5) * np.uint8(255))
    alpha = np.asarray(soft.resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX))
    rgba = np.dstack([_in_crop(camera, table(3).rgb), alpha])
    seen = _in_crop(camera, table(3).mask(name))
    depth = _in_crop(camera, table(3).depth)
    # The photo's z along the crop's axis.
    rows, columns = _photo_pixels(camera, 3, SIDE_PX)
    photo = photo_camera(3)
    x, y = (columns - photo.cx_px) / photo.fx_px, (rows - photo.cy_px) / photo.fy_px
    depth = depth * (np.stack([x, y, np.ones_like(x)], -1) @ camera.photo_from_crop[:, 2])
    depth = np.where(seen, depth, np.nan).astype(np.float32)
    seen_depth = PointMap(depth, camera.camera, guessed=guessed)
    return {"image": Cutout(rgba), "depth": seen_depth, "camera": camera}


def _placeable(names: Sequence[str]) -> dict[str, Any]:
    """What place reads: meshes that know the truth; parts of some are hidden by others."""
    given: dict[str, Any] = {"point_map": _measured(3)}
    behind = {"egg": "box", "bowl": "nut", "box": "lid", "nut": "bowl"}
    for i, name in enumerate(names):
        crop, number = crop_camera(name, SIDE_PX), f"{i:03d}"
        nearer = (
            table(3).mask(behind[name]) if name in behind else np.zeros(table(3).owner.shape, bool)
        )
        given[f"{number}.mesh"], given[f"{number}.camera"] = object_mesh(name, crop), crop
        given[f"{number}.mask"], given[f"{number}.hidden_by"] = (
            Mask(table(3).mask(name)), Mask(nearer),
        )  # fmt: skip
    return given


def _photo_pixels(camera: Any, scale: int, side_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns (side, side) in the photo of a crop's pixel centres."""
    v, u = (np.mgrid[:side_px, :side_px] + 0.5) * (camera.camera.width / side_px)
    x = (u - camera.camera.cx_px) / camera.camera.fx_px
    y = (v - camera.camera.cy_px) / camera.camera.fy_px
    rays = np.stack([x, y, np.ones_like(x)], -1) @ camera.photo_from_crop.T
    photo = photo_camera(scale)
    columns = rays[..., 0] / rays[..., 2] * photo.fx_px + photo.cx_px
    return rays[..., 1] / rays[..., 2] * photo.fy_px + photo.cy_px, columns


def _in_crop(camera: Any, pixels: np.ndarray, finer: int = 1) -> np.ndarray:
    """A photo's pixels (H, W, ...) as a crop sees them, the nearest of each."""
    scale = pixels.shape[0] // inputs.photo_camera().height
    rows, columns = _photo_pixels(camera, scale, camera.camera.width * finer)
    row = np.clip(rows.astype(int), 0, pixels.shape[0] - 1)
    column = np.clip(columns.astype(int), 0, pixels.shape[1] - 1)
    return pixels[row, column]


def _prompt(label: str, box: tuple | None, *points: tuple[int, int, bool]) -> dict[str, Any]:
    clicks = [{"x_px": x, "y_px": y, "foreground": on} for x, y, on in points]
    return {"label": label, "text": "", "box": box, "points": clicks}


def _png(pixels: np.ndarray, **extra: Any) -> File:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", **extra)
    return File(out.getvalue())


def _npy(array: np.ndarray) -> File:
    out = io.BytesIO()
    np.save(out, array)
    return File(out.getvalue(), ".npy")
