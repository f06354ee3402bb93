"""A dummy stage `tint` with a backend, and a dummy step `weigh`: what CONTRIBUTING's recipes make.

The edits of `flows/plan.py` are pairs: a line of the plan, and what stands there afterwards.
"""

STAGE_EDITS = (
    ("    segment,\n)", "    segment,\n    tint,\n)"),
    ("        generate.STEP,\n", "        generate.STEP,\n        tint.STEP,\n"),
    (
        '    scene = _with_made(scene, request, store, "mesh", "mesh", generated)\n',
        """    if "tint" in request.profile.stages and request.until != "generate":
        made = generated.bundles
        tinted = yield from _each(request, {i: tint.call(request, o, made[i])
                                            for o in objects if (i := o.id) in made})
        generated = replace(tinted, failures=generated.failures | tinted.failures)
    scene = _with_made(scene, request, store, "mesh", "mesh", generated)
""",
    ),
    ('    if request.until == "generate" or', '    if request.until in ("generate", "tint") or'),
)
STEP_EDITS = (
    ("    segment,\n", "    segment,\n    weigh,\n"),
    ("        compose.STEP,\n", "        compose.STEP,\n        weigh.STEP,\n"),
    (
        '    return replace(scene, glb=composed["glb"], overlay=composed["overlay"])\n',
        "    yield from _one(weigh.call(composed))\n"
        '    return replace(scene, glb=composed["glb"], overlay=composed["overlay"])\n',
    ),
)
