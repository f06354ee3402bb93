"""What flows through photoscene: the frozen values that stages take and return."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]
Uint8 = NDArray[np.uint8]


@dataclass(frozen=True)
class Artifact:
    """A file in the store, named by its content: kind (what it is), sha256 (hex), suffix."""

    kind: str
    sha256: str
    suffix: str


@dataclass(frozen=True)
class Camera:
    """A pinhole camera; intrinsics in pixels, pixel i has its centre at i + 0.5. OpenCV axes."""

    width: int
    height: int
    fx_px: float
    fy_px: float
    cx_px: float
    cy_px: float

    @property
    def K(self) -> Float64:
        """(3, 3) intrinsic matrix in pixels."""
        return np.array(
            [[self.fx_px, 0, self.cx_px], [0, self.fy_px, self.cy_px], [0, 0, 1]], np.float64
        )

    @property
    def fov_x_rad(self) -> float:
        """Horizontal field of view of a camera with the same focal length and a centred axis."""
        return float(2 * np.arctan(self.width / (2 * self.fx_px)))


@dataclass(frozen=True, eq=False)
class CropCamera:
    """A square camera at the photo camera's optical centre, turned to look at an object.

    photo_from_crop is the (3, 3) rotation R_c that turns crop-camera axes into photo-camera axes.
    """

    camera: Camera
    photo_from_crop: Float64


@dataclass(frozen=True, eq=False)
class Photo:
    """An upright sRGB picture: rgb (H, W, 3) uint8."""

    rgb: Uint8

    @property
    def height(self) -> int:
        return int(self.rgb.shape[0])

    @property
    def width(self) -> int:
        return int(self.rgb.shape[1])


@dataclass(frozen=True, eq=False)
class Cutout:
    """A picture with straight alpha: rgba (H, W, 4) uint8."""

    rgba: Uint8


@dataclass(frozen=True)
class Point:
    """A click on the photo in pixels; foreground False means "not this object"."""

    x_px: float
    y_px: float
    foreground: bool = True


@dataclass(frozen=True)
class ObjectPrompt:
    """What a person gives about one object: clicks, a box (x0, y0, x1, y1 px), words, a label."""

    label: str = ""
    text: str = ""
    box: tuple[float, float, float, float] | None = None
    points: tuple[Point, ...] = ()


@dataclass(frozen=True, eq=False)
class Mask:
    """The visible pixels of one object: pixels (H, W) bool at the photo's size; score in [0, 1]."""

    pixels: Bool
    label: str = ""
    score: float = 1.0


@dataclass(frozen=True, eq=False)
class PointMap:
    """The scene's geometry seen from the photo's camera.

    depth (H, W) float32 is the z coordinate in the camera frame, NaN where unknown; the point of a
    pixel is its ray times that depth (`cameras.points_of`), so every point projects onto its pixel.
    metric says that the unit is the metre; notes are words about where numbers came from.
    normals (H, W, 3) float32, where the map's maker knows them: unit vectors out of the surfaces in
    the camera frame, NaN where unknown.
    guessed says that the depth of objects was not measured but follows from where they stand.
    """

    depth: Float32
    camera: Camera
    metric: bool = False
    notes: tuple[str, ...] = ()
    normals: Float32 | None = None
    guessed: bool = False


@dataclass(frozen=True, eq=False)
class DepthFile:
    """A user's depth or point map as it came: raw bytes, file suffix and name for messages; turned:
    how EXIF turns the photo that it belongs to, for a message."""

    data: bytes
    suffix: str
    name: str
    turned: str | None = None


@dataclass(frozen=True, eq=False)
class Crop:
    """An object and its surroundings seen by its context camera.

    rgba (N, N, 4) uint8: the photo, with the visible mask (antialiased) as straight alpha;
    occluder (N, N) bool: the pixels of nearer objects that may hide parts of it; occluder_labels:
    what those are called, the largest first; outside (N, N) bool: pixels beyond the photo's border,
    None for none.
    """

    rgba: Uint8
    occluder: Bool
    camera: CropCamera
    occluder_labels: tuple[str, ...] = ()
    outside: Bool | None = None


@dataclass(frozen=True, eq=False)
class Completion:
    """The whole object in its context crop: rgba (N, N, 4) uint8, straight alpha (amodal mask)."""

    rgba: Uint8
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class ObjectCrop:
    """The completed object as the generator sees it.

    rgba (N, N, 4) uint8, straight alpha, framed 1.1 times by `camera`; depth (N, N) float32 is z in
    the crop camera's frame where the photo shows the object and the point map is valid, else NaN;
    measured is False where that depth is a guess (`PointMap.guessed`).
    """

    rgba: Uint8
    depth: Float32
    camera: CropCamera
    measured: bool = True


@dataclass(frozen=True, eq=False)
class PosedView:
    """One picture of an object by itself, and the camera that took it.

    rgba (H, W, 4) uint8, straight alpha; world_from_camera (4, 4), a rigid transform of a camera
    that looks along its -z with y up (NeRF's convention) in a world with z up, the object about its
    origin.
    """

    rgba: Uint8
    fov_x_rad: float
    world_from_camera: Float64


@dataclass(frozen=True, eq=False)
class Material:
    """How a mesh reflects light beside the colour of its texture; every map has the mesh's uv.

    alpha (H, W) uint8, straight, None for opaque; metallic_roughness (H, W, 2) uint8, linear, None
    for a matt dielectric; normal_map (H, W, 3) uint8, glTF's tangent space (green up), None for
    none; double_sided: drawn from behind as well.
    """

    alpha: Uint8 | None = None
    metallic_roughness: Uint8 | None = None
    normal_map: Uint8 | None = None
    double_sided: bool = False


@dataclass(frozen=True, eq=False)
class DenseMesh:
    """A surface as a generator decoded it, too large to be drawn, in the object frame.

    vertices (N, 3) float32, each at a place of its own; faces (M, 3) int32, wound alike where they
    can be; values (N, 6) uint8 of the vertices: base colour (sRGB), metallic, roughness, alpha.
    """

    vertices: Float32
    faces: NDArray[np.int32]
    values: Uint8


@dataclass(frozen=True, eq=False)
class CanonicalPose:
    """How the canonical frame of a generator that has one stands in the object frame.

    object_from_canonical: from the generator's own upright cube [-0.5, 0.5]^3, z up; pixel_aligned:
    whether the camera's pose is known, so that the mesh, in the object frame, projects onto its
    pixels; else the object frame has the canonical axes as the generator's front has them.
    confidence: in [0, 1], of a pose that was estimated; 0 for an unknown one.
    """

    object_from_canonical: Similarity
    pixel_aligned: bool
    confidence: float


@dataclass(frozen=True, eq=False)
class ObjectMesh:
    """A textured mesh in the object frame: a cube of side 1, axes of the object's crop camera.

    vertices (N, 3) float32; faces (M, 3) int32, counter-clockwise seen from outside;
    uv (N, 2) float32, origin at the texture's top-left corner; texture (H, W, 3) uint8 sRGB.
    notes: what its maker reports of it; they are kept beside the file, not in it.
    normals (N, 3) float32, unit, of the vertices; None: those of the vertices' own faces.
    dense: what it was made from, for the stage finish; kept beside the file where there is any.
    canonical: its pose, where its generator has a canonical frame; kept beside the file.
    """

    vertices: Float32
    faces: NDArray[np.int32]
    uv: Float32
    texture: Uint8
    notes: tuple[str, ...] = ()
    material: Material = Material()
    normals: Float32 | None = None
    dense: DenseMesh | None = None
    canonical: CanonicalPose | None = None


@dataclass(frozen=True, eq=False)
class Similarity:
    """target_from_source: x -> scale * rotation @ x + translation."""

    scale: float
    rotation: Float64
    translation: Float64

    def apply(self, points: NDArray[np.floating]) -> Float64:
        """(N, 3) points of the source frame in the target frame."""
        return self.scale * np.asarray(points, np.float64) @ self.rotation.T + self.translation

    def after(self, first: Similarity) -> Similarity:
        """The similarity that does another one first, then this one."""
        translation = self.apply(first.translation[None])[0]
        return Similarity(self.scale * first.scale, self.rotation @ first.rotation, translation)

    @property
    def matrix(self) -> Float64:
        """(4, 4) homogeneous matrix."""
        out = np.eye(4)
        out[:3, :3] = self.scale * self.rotation
        out[:3, 3] = self.translation
        return out


@dataclass(frozen=True)
class Figure:
    """One more figure of a fit: its name, its value, and what it is, for who reads the report."""

    name: str
    value: float
    meaning: str


@dataclass(frozen=True)
class FitReport:
    """How well a placed object agrees with the point map and the photo.

    scale and distance: size factor and range of the object's centre, in point-map units;
    residual_median, residual_p90: |placed depth - measured depth| / depth over the points used;
    inlier_share: share of points within the solver's threshold; points: how many were used;
    silhouette_iou: re-rendered outline against the visible mask, occluders set aside;
    depth_error: mean |placed - measured| / measured over all visible pixels, None for none;
    perspective: distance over the one that the fitted size asks for, D / (s d); 1 when field of
    view, point map and mesh agree, None when not looked at; support: what it rests on, "plane",
    "object N" (counted from 1) or "" for unknown; grade: "good", "check" or "failed"; figures: any
    others, such as those of a term of the solver.
    """

    scale: float
    distance: float
    residual_median: float
    residual_p90: float
    inlier_share: float
    points: int
    silhouette_iou: float
    depth_error: float | None = None
    perspective: float | None = None
    support: str = ""
    grade: str = "good"
    warnings: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True, eq=False)
class SceneObject:
    """One object of a scene; what failed is None, and `failure` says why.

    camera_from_canonical: of a placed object whose generator has a canonical frame.
    """

    id: str
    label: str
    name: str
    mask: Artifact
    completion: Artifact | None = None
    mesh: Artifact | None = None
    camera_from_object: Similarity | None = None
    fit: FitReport | None = None
    failure: str | None = None
    camera_from_canonical: Similarity | None = None


@dataclass(frozen=True, eq=False)
class Scene:
    """A reconstructed photo: everything needed to draw it again, as values and artifacts."""

    photo: Artifact
    camera: Camera | None = None
    points: Artifact | None = None
    objects: tuple[SceneObject, ...] = ()
    world_from_camera: Float64 | None = None
    glb: Artifact | None = None
    overlay: Artifact | None = None
    notes: tuple[str, ...] = ()
