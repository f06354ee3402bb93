"""The hand-off of a run on one page: what it shows, for whom, how good it is, and what is open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from photoscene.runs.fits import GOOD
from scene.placed import PlacedMesh
from scene.seams import is_closed
from scene.types import Float64, Scene

FORMAT = "photoscene-brief/3"
MAX_SHORT_DIGEST = 12
UNIT_NOTE = "unit: "  # how a map says what its unit stands for


@dataclass(frozen=True)
class Purpose:
    """What a person says of the use: where it goes, in which format, and at most how many faces and
    texture pixels an object may have; "" and None where nobody said."""

    destination: str = ""
    format: str = ""
    faces: int | None = None
    texture_px: int | None = None


@dataclass(frozen=True)
class Subject:
    """One object: size (width, height, depth) of its upright box, faces, longer side of its
    texture, whether its surface is closed, and its fit's grade, outline IoU and warnings."""

    name: str
    size: tuple[float, float, float]
    faces: int
    texture_px: int
    closed: bool
    grade: str
    outline_iou: float
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Brief:
    """The page as values. unit: of sizes; lost: objects that are not there, with the reason; asset:
    the run's asset record; rubric: what `photoscene quality` counted, "" where it was not kept;
    materials: which maps the objects have; open_points: what a person has to decide or look at;
    commands: what settles them, each with what it is for."""

    title: str
    purpose: Purpose
    subjects: tuple[Subject, ...]
    lost: Mapping[str, str]
    unit: str
    upright: bool
    asset: Mapping[str, Any]
    notes: tuple[str, ...]
    rubric: str
    materials: str
    open_points: tuple[str, ...]
    commands: Mapping[str, str]


def make_brief(
    title: str,
    purpose: Purpose,
    scene: Scene,
    placed: Sequence[PlacedMesh],
    lost: Mapping[str, str],
    metric: bool,
    asset: Mapping[str, Any],
    quality: Mapping[str, Any] | None = None,
) -> Brief:
    """The brief of a run's placed objects. metric: whether lengths are metres; quality: the rubric
    as it was kept of this scene."""
    world = scene.world_from_camera
    subjects = tuple(_subject(o, world) for o in placed)
    unit = "m" if metric else "scene units"
    points = _open_points(purpose, subjects, lost, metric, world is not None, asset)
    rubric = ""
    if quality is not None:
        points += _rubric_points(quality, metric)
        rubric = _rubric_counts(quality)
    commands = _commands(purpose, subjects, metric, asset)
    return Brief(title, purpose, subjects, dict(lost), unit, world is not None, asset,
                 scene.notes, rubric, _materials(placed), tuple(points), commands)  # fmt: skip


def brief_to_json(brief: Brief) -> dict[str, Any]:
    """Plain JSON."""
    return {"format": FORMAT, **asdict(brief)}


def brief_page(brief: Brief) -> str:
    """The page as Markdown."""
    lines = [f"# Hand-off: {_escaped(brief.title)}", "", _summary(brief), ""]
    lines += ["## Open points", ""]
    lines += [f"- [ ] {_escaped(point)}" for point in brief.open_points] or ["None."]
    lines += ["", "## Purpose", "", *_purpose_lines(brief.purpose)]
    lines += ["", "## Subject and quality", "", *_subject_table(brief), "", *_scale_lines(brief)]
    lines += [f"- Full check of surface, texture, exports, standing: {brief.rubric or NO_RUBRIC}."]
    lines += ["", "## Measured and guessed", ""]
    lines += [f"- Measured: {_escaped(line)}." for line in brief.asset["measured"]]
    lines += [f"- Guessed: {_escaped(line)}." for line in brief.asset["guessed"]]
    lines += [f"- Cleaned up: {_escaped(line)}." for line in brief.asset["cleanup"]]
    lines += [f"- Note: {_escaped(n)}." for n in brief.notes if not n.startswith(UNIT_NOTE)]
    lines += ["", METHODS]
    lines += ["", "## Rights", "", *_rights_lines(brief.asset)]
    lines += ["", "## Files", "", *FILE_LINES]
    lines += ["", "## Commands", "", COMMANDS_INTRO, ""]
    lines += [f"- {what}: `{command}`" for command, what in brief.commands.items()]
    return "\n".join(lines) + "\n"


VERDICTS = ("pass", "check", "fail", "not measured")
NO_RUBRIC = "not done, or not kept; the last command below does it, with `--keep`"
FILE_LINES = (
    "- `scene.glb`: all objects, each a named node; glTF, with the photo's camera at the origin "
    "and y up as that camera was held; `export --frame world` makes y the true vertical.",
    "- `objects/NN_name/mesh.glb`: each object by itself, scaled evenly to fit a cube of side 1.",
    "- `overlay.png`: the scene drawn over the photo, the quickest check of every place.",
    "- `report.html`: photo, 3D view and every step; opens in any browser, offline.",
    "- `scene.json`: where each object is and how it agrees with the photo, and under `asset` all "
    "settings, random seeds and weights.",
    "- Besides: photo, masks, completed pictures, crops and point map that these were made from, "
    "and `run.json`, the record of the run.",
)
METHODS = (
    "In brackets is the method that filled it in, as it is listed with its settings under `asset` "
    "in `scene.json`; `lite` are small networks that come with photoscene, made for speed. "
    "Notes have the values that were guessed. Pitch is how far the camera looked down, roll how "
    "far it leaned to a side, in degrees."
)
WEIGHTS = (
    "Weights are trained networks, each with the step that used it: segment finds the objects, "
    "map_points estimates the distance of every pixel, complete fills in what was hidden, generate "
    "makes the mesh. Pages below `weights/` are in photoscene's repository."
)
COMMANDS_INTRO = (
    "For whoever has photoscene installed and this folder, here called RUN; everybody else can ask "
    "them for it."
)


def _summary(brief: Brief) -> str:
    """What this is, for who has never heard of it."""
    made, lost = len(brief.subjects), len(brief.lost)
    counted = f"{made} object{'' if made == 1 else 's'} of one photo"
    if lost:
        counted = f"{made} of {made + lost} objects of one photo"
    missing = f" {lost} could not be made; the table says why." if lost else ""
    return (
        f"{counted}, each as a 3D mesh of its own in its place, made by "
        f"{brief.asset['generator']}: a program that reconstructs scenes from a single photo. What "
        f"the photo does not show is a guess.{missing}"
    )


def _subject(o: PlacedMesh, world_from_camera: Float64 | None) -> Subject:
    vertices = o.camera_vertices
    if world_from_camera is not None:
        vertices = vertices @ world_from_camera[:3, :3].T
    across = np.ptp(vertices, axis=0)
    # Upright z is up and y leads away from the camera; in the camera's frame y is down, z ahead.
    width, height, depth = across[[0, 2, 1]] if world_from_camera is not None else across
    size = (_rounded(width), _rounded(height), _rounded(depth))
    return Subject(
        o.name, size, len(o.mesh.faces), max(o.mesh.texture.shape[:2]),
        is_closed(o.mesh.vertices, o.mesh.faces), o.fit.grade,
        round(o.fit.silhouette_iou, 3), o.fit.warnings,
    )  # fmt: skip


def _materials(placed: Sequence[PlacedMesh]) -> str:
    """Which maps the objects have, in a sentence."""
    kinds = {"metallic_roughness": "metallic and roughness", "normal_map": "normals",
             "alpha": "opacity"}  # fmt: skip
    more = [
        words for name, words in kinds.items()
        if any(getattr(o.mesh.material, name) is not None for o in placed)
    ]  # fmt: skip
    if not more:
        return "It is the only map, so the light of the photo is in the colours."
    return f"There are maps of {', '.join(more)}, too."


def _rounded(length: float) -> float:
    """Three digits: no length here is known better."""
    return float(f"{length:.3g}")


def _open_points(
    purpose: Purpose,
    subjects: Sequence[Subject],
    lost: Mapping[str, str],
    metric: bool,
    upright: bool,
    asset: Mapping[str, Any],
) -> list[str]:
    points = []
    if not asset["photo"]["licence"]:
        points.append("The photo's licence is not known: ask whose photo it is")
    if not purpose.destination:
        points.append("Nobody has said where this goes, as a web viewer, a game or a printer")
    if not purpose.format:
        points.append("Nobody has said which file format is needed; so far there is GLB")
    if not metric:
        points.append("Sizes have no real unit: measure one object, then all lengths become metres")
    if not upright:
        points.append("The floor or table was not found: what is upright has to be set by hand")
    points += [f"{name} is missing: {reason}" for name, reason in lost.items()]
    for o in subjects:
        points += _points_of(o, purpose)
    for entry in asset["weights"]:
        if entry["restrictions"]:
            points.append(f"Licence of the weights {entry['name']}: {entry['restrictions']}")
        elif entry["licence"] == "unknown":
            points.append(f"Licence of the weights {entry['name']} is unknown")
    return points


def _rubric_counts(quality: Mapping[str, Any]) -> str:
    counts = {verdict: quality["counts"].get(verdict, 0) for verdict in VERDICTS}
    left_out = [row["subject"] for row in quality["rows"] if row["verdict"] == VERDICTS[-1]]
    names = f" ({', '.join(left_out)})" if left_out else ""
    return ", ".join(f"{n} {verdict}" for verdict, n in counts.items() if n) + names


def _rubric_points(quality: Mapping[str, Any], metric: bool) -> list[str]:
    """A line for each row of the rubric that is not passed, with all objects that it is about; a
    scale that is not known is a point already."""
    subjects: dict[tuple[str, str], list[str]] = {}
    for row in quality["rows"]:
        if row["verdict"] in ("check", "fail") and (metric or row["name"] != "scale"):
            told = f"{row['subject']} {row['text']}"
            limits = f" ({row['limits']})" if row["limits"] else ""
            subjects.setdefault((row["name"], f"{row['verdict']}{limits}"), []).append(told)
    return [
        f"Full check, {name}: {verdict}: {', '.join(found)}"
        + (f": {quality['remedies'][name]}" if name in quality["remedies"] else "")
        for (name, verdict), found in subjects.items()
    ]


def _points_of(o: Subject, purpose: Purpose) -> list[str]:
    points = []
    if o.grade != GOOD:
        why = f": {'; '.join(o.warnings)}" if o.warnings else ""
        points.append(f"{o.name} is graded {o.grade}, look at it in overlay.png{why}")
    if not o.closed:
        points.append(f"{o.name} is not closed: it cannot be printed or filled as it is")
    if purpose.faces is not None and o.faces > purpose.faces:
        points.append(f"{o.name} has {o.faces} faces, over the budget of {purpose.faces}")
    if purpose.texture_px is not None and o.texture_px > purpose.texture_px:
        points.append(
            f"{o.name} has a texture of {o.texture_px} px, over the budget of {purpose.texture_px}"
        )
    return points


def _commands(
    purpose: Purpose, subjects: Sequence[Subject], metric: bool, asset: Mapping[str, Any]
) -> dict[str, str]:
    """Commands that settle what is open, then those that everybody may need, with what for."""
    settled = {}
    if not asset["photo"]["licence"]:
        settled['photoscene run PHOTO ... --licence "CC-BY-4.0, NAME"'] = (
            "the photo's licence: the command of this run once more, which computes nothing again"
        )
    if not (purpose.destination and purpose.format):
        settled['photoscene brief RUN --destination "web viewer" --format glb'] = "the purpose"
    if not metric:
        name = subjects[0].name.replace('"', "")
        settled[f'photoscene export RUN --size "{name}=LENGTH"'] = (
            "metres, from the longest side of that object, with its unit as in 23cm"
        )
    if purpose.faces is not None and any(o.faces > purpose.faces for o in subjects):
        settled[f"photoscene export RUN --faces {purpose.faces}"] = "fewer faces"
    if purpose.texture_px is not None and any(o.texture_px > purpose.texture_px for o in subjects):
        settled[f"photoscene export RUN --textures {purpose.texture_px}"] = "smaller textures"
    return {
        **settled,
        "photoscene export RUN --format obj,usdz,fbx": "other formats; `--help` lists them, units "
        "(`--unit cm`) and axes (`--up z`)",
        "photoscene render RUN --turntable scene.gif": "images from any side",
        "photoscene quality RUN --keep": "a full check, for this page, too",
    }


def _purpose_lines(purpose: Purpose) -> list[str]:
    faces = "not said" if purpose.faces is None else f"at most {purpose.faces} faces an object"
    texture = "" if purpose.texture_px is None else f", textures of {purpose.texture_px} px"
    return [
        f"- Destination: {_escaped(purpose.destination) or 'not said'}",
        f"- Format: {_escaped(purpose.format) or 'not said'}",
        f"- Budget: {faces}{texture}",
    ]


def _subject_table(brief: Brief) -> list[str]:
    rows = [
        f"| {_escaped(o.name)} | {' x '.join(f'{side:g}' for side in o.size)} | {o.faces} "
        f"| {o.texture_px} | {'yes' if o.closed else 'no'} | {o.grade} | {o.outline_iou:.3f} |"
        for o in brief.subjects
    ]
    rows += [
        f"| {_escaped(name)} | - | - | - | - | missing | {_escaped(reason)} |"
        for name, reason in brief.lost.items()
    ]
    return [
        f"| object | width x height x depth ({brief.unit}) | faces | texture px | closed | grade "
        "| outline |",
        "|---|---|---|---|---|---|---|",
        *rows,
    ]


def _scale_lines(brief: Brief) -> list[str]:
    upright = "the floor or table" if brief.upright else "the photo's camera (no floor was found)"
    if brief.unit == "m":
        unit = "They are metres."
    else:
        known = [n.removeprefix(UNIT_NOTE) for n in brief.notes if n.startswith(UNIT_NOTE)]
        meaning = f": {_escaped(known[0])}, so 0.5 is half of that" if known else ""
        unit = f"They are in units of this scene only{meaning}; ratios between objects hold."
    return [
        f"Sizes are those of upright boxes about each object; the vertical is that of {upright}. "
        f"{unit}",
        "",
        "- Faces are triangles. Texture px: longer side of the object's colour image, which is "
        f"inside the GLB. Closed: the surface has no hole. {brief.materials}",
        "- Grade: how the object in its place agrees with the photo, which does not show its "
        "back: `good`, `check` (a person should look) or `failed`.",
        "- Outline: overlap of the object, drawn through the photo's camera, with its outline in "
        "the photo; 1 is exact.",
    ]


def _rights_lines(asset: Mapping[str, Any]) -> list[str]:
    photo = asset["photo"]
    licence = _escaped(photo["licence"]) or "**not known**"
    lines = [
        f"- Photo: {licence} (sha256 {photo['sha256'][:MAX_SHORT_DIGEST]}...).",
        "- Meshes and textures are made from the photo: its licence counts for them, and what "
        "those of the weights demand; photoscene itself demands nothing.",
    ]
    for entry in asset["weights"]:
        revision = f", revision {entry['revision'][:MAX_SHORT_DIGEST]}" if entry["revision"] else ""
        stages = ", ".join(entry["stages"])
        lines.append(
            f"- Weights {entry['name']} ({stages}): {_escaped(entry['licence'])}; "
            f"{_escaped(entry['source'])}{revision}."
        )
    if asset["weights"]:
        return [*lines, "", WEIGHTS]
    return [*lines, "- No learned weights were used."]


def _escaped(text: str) -> str:
    """Text that is nothing but text in Markdown, on one line."""
    line = " ".join(text.split()).rstrip(".")
    return "".join(f"\\{c}" if c in "\\*_[]<>#|" else c for c in line)
