"""What a row that does not pass means for whoever takes the scene over, and what can be done."""

from __future__ import annotations

from collections.abc import Sequence

from photoscene.quality.rubric import CHECK, FAIL, Row

ASSET = "`run --set finish.backend=asset`"
ANOTHER = "`rerun RUN --object N --from generate --seed S` tries another seed"
REMEDIES = {
    "outline": "the mesh does not cover the pixels of its object; see overlay.png, correct the "
    f"mask in RUN/objects and `rerun RUN --edited`, or {ANOTHER}",
    "boundary": "the drawn outline runs beside that of the photo; correct the mask in RUN/objects "
    "and `rerun RUN --edited`",
    "depth": "the object is nearer or farther than the point map says; give a measured depth with "
    "`run --pointmap`, or look whether its mask takes in what is behind it",
    "made": "the object is lost and in none of the files; the reason is in its row",
    "closed": f"the surface has holes, so it cannot be printed or cut; {ASSET} makes closed shells",
    "floaters": f"bits of surface hang in the air; {ASSET} drops small ones, or {ANOTHER}",
    "normals": f"faces are inside out and vanish in engines that cull them; {ASSET} winds them "
    "outward",
    "seen": "almost nothing of the surface is in the photo, so shape and colours are the "
    "generator's guess; look at it from all sides, or give more views",
    "maps": f"the object has one colour or a tiny texture; {ASSET} bakes one, profile `full` makes "
    "physically based maps",
    "resolution": "the texture is coarser than the photo; a larger photo helps, or "
    f"{ASSET} with `finish.texture_px`",
    "seams": "colours jump where islands of the texture meet, which shows from near; "
    f"{ASSET} bakes over them",
    "faces": "too many for most engines; `export --faces N` makes fewer",
    "pieces": f"the object is a heap of fragments; {ASSET} joins them into one shell",
    "non-manifold": f"more than two faces meet at an edge, which breaks booleans; {ASSET}",
    "slivers": "long thin faces flicker in shading; `export --faces N` makes rounder ones",
    "UV islands": f"the texture is in crumbs and cannot be painted; {ASSET} unwraps anew",
    "UV overlap": "parts of the surface share texels, so nothing can be baked or painted there; "
    f"{ASSET} unwraps anew",
    "UV stretch": "the texture is smeared, or parts of the surface have no place in it; "
    f"{ASSET} unwraps anew",
    "read back": "another program would not find in the file what scene.json says; write it again "
    "with `rerun` or `export`, and report it where that does not help",
    "origin": "objects do not stand on their pivot; `export` sets it, so the mesh has strayed",
    "scale": "nothing in the photo tells its scale; `export --size OBJECT=LENGTH` sets it for all "
    "objects from one that you know",
    "colliders": "a simulator would feel another shape than one sees; `export --faces N` makes a "
    "simpler one",
    "stands": "left to itself in a simulator it moves by so much of its size within two seconds, "
    "since its base, its hidden half or its place is a guess; scenery that nobody touches needs "
    "nothing, for a simulator pin it or let it settle before you start, or repeat the run with the "
    "depth that a camera measured (`run --pointmap FILE`)",
}  # fmt: skip


def remedies_of(rows: Sequence[Row]) -> dict[str, str]:
    """What each kind of row that fails or is to be checked means and asks for, by its name, the
    failures first."""
    names = [row.name for verdict in (FAIL, CHECK) for row in rows if row.verdict == verdict]
    return {name: REMEDIES[name] for name in dict.fromkeys(names)}
