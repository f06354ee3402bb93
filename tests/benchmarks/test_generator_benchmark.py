"""Do the generator's FLOP counts hold, and does what its benchmark runs run at all?"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import trimesh

torch = pytest.importorskip("torch", reason="the generator's extra: pip install -e '.[pixal3d]'")

from benchmarks.generator.cascade import measure_cascade  # noqa: E402
from benchmarks.generator.cases import CASES, CONTEXT_TOKENS, shell, shortened  # noqa: E402
from benchmarks.generator.compare import compare, comparison_table  # noqa: E402
from benchmarks.generator.decoding import TOKENS, decoder_launches  # noqa: E402
from benchmarks.generator.flops import count, count_pass, formula  # noqa: E402
from benchmarks.generator.image import counted_passes  # noqa: E402
from benchmarks.generator.launches import Launches, launches  # noqa: E402
from benchmarks.generator.objects import nested_spheres, surface  # noqa: E402
from pixal3d.cascade import GenerationOptions, ImageUse  # noqa: E402
from pixal3d.checkpoints import OFFICIAL_SAMPLERS  # noqa: E402
from pixal3d.networks import OFFICIAL, NetworkSpec  # noqa: E402
from sparse3d.dual_grid import dual_grid_to_mesh  # noqa: E402
from sparse3d.mesh_repair import clean_mesh  # noqa: E402

CPU = torch.device("cpu")
BLOCKS = 2
WIDTH = 1536  # of every released flow
TINY = {"model_channels": 48, "num_heads": 2, "num_blocks": 1, "cond_channels": 16}


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_an_unconditional_pass_sheds_cross_attention_and_projection(case) -> None:
    """Exactly the queries, outputs and attention to the context; what remains of the image branch
    is one row through one layer. A guided step then costs what the closed form says."""
    config, tokens = shortened(case.config, BLOCKS), case.tokens
    conditional = count_pass(config, tokens, "conditional")
    unconditional = count_pass(config, tokens, "unconditional")
    cross = 2 * tokens * (2 * WIDTH * WIDTH + 2 * CONTEXT_TOKENS * WIDTH)
    constant = 2 * WIDTH * WIDTH
    assert unconditional == conditional - BLOCKS * (cross - constant)

    projection = 2 * tokens * WIDTH * (2048 if config.projected_channels == 2048 else 1024)
    recomputing = count_pass(config, tokens, "conditional", term_bytes=0)
    assert recomputing == conditional + BLOCKS * projection

    for batched in (False, True):
        ratio = count_pass(config, tokens, "guided", batched=batched) / conditional
        assert ratio <= 1.02 * formula(config, tokens).guided_ratio


def test_the_closed_form_gives_the_counts_and_the_known_ratios() -> None:
    small, _, large = CASES
    for case in (small, large):
        config = shortened(case.config, 1)
        expected = formula(config, case.tokens)
        assert count_pass(config, case.tokens, "conditional") == expected.conditional
        assert count_pass(config, case.tokens, "unconditional") == expected.unconditional
    ratios = [round(formula(c.config, c.tokens).guided_ratio, 2) for c in (small, large)]
    assert ratios == [1.91, 1.98]
    totals = [formula(c.config, c.tokens).recomputing / 1e12 for c in CASES[1:]]
    assert totals == pytest.approx([91.2, 570.6], abs=0.1)


def test_counting_sees_matrix_products_and_attention() -> None:
    q = torch.zeros(1, 2, 64, 8, device="meta")
    assert count(lambda: q[0, 0] @ q[0, 0].T) == 2 * 64 * 64 * 8
    attention = torch.nn.functional.scaled_dot_product_attention
    assert count(lambda: attention(q, q, q)) == 2 * (4 * 64 * 64 * 8)


def test_decoding_a_plain_object_takes_few_launches() -> None:
    """The form before took 72,414 small products for an object of 11 thousand tokens, for the shape
    decoder twice and the texture decoder once. What the host would have to wait for does not run on
    the meta device, so no tap and no slice waits."""
    counted = decoder_launches("shape_decoder", TOKENS, 1 << 30)
    assert 3 * counted.matrix_products <= 72_414 / 8
    assert counted.waits == 0


def test_launches_are_what_torch_computes_without_views() -> None:
    a = torch.ones(10, 20)
    counted = launches(lambda: (a @ a.T).view(-1)[:7] + a.expand(3, 10, 20)[0, 0, 0])
    assert counted == Launches(2, 1, 0, 4 * (200 + 200 + 100 + 7 + 1 + 7))
    assert launches(lambda: a[a > 0]).waits == launches(lambda: a.sum().item()).waits == 1


def test_the_image_encoder_runs_once_per_picture_size() -> None:
    assert counted_passes() == 2


def test_shells_have_the_asked_voxels_near_a_sphere() -> None:
    voxels = shell(64, 12288, CPU)
    radius = (voxels.coords[:, 1:].float() - 31.5).norm(dim=1)
    assert len(voxels.coords.unique(dim=0)) == 12288
    assert radius.max() - radius.min() < 3
    assert torch.equal(voxels.coords, shell(64, 12288, CPU).coords)


def test_given_objects_are_closed_spheres_of_so_many_voxels() -> None:
    """Two nested ones, since the outer one alone has fewer voxels than are asked for."""
    given = nested_spheres(1300, 16, CPU, subdivisions=2)
    assert len(given.radii) == 2 and abs(len(given.levels[0]) - 1300) < 130
    assert all(3.5 < len(b) / len(a) < 4.5 for a, b in pairwise(given.levels))
    coords, vertices, crossed, side = surface(given)
    mesh = clean_mesh(*dual_grid_to_mesh(coords, vertices, crossed, None, side))
    spheres = trimesh.Trimesh(*(part.numpy() for part in mesh), process=False)
    assert spheres.is_watertight
    assert spheres.area == pytest.approx(4 * math.pi * sum(r**2 for r in given.radii), rel=0.03)


@pytest.mark.parametrize(("off", "agrees"), [(0.0, True), (1e-3, False), (float("nan"), False)])
def test_a_comparison_tells_when_the_numbers_differ(off: float, agrees: bool) -> None:
    values = torch.linspace(-2, 2, 101)
    ways = (lambda: values, lambda: values + off)
    row = compare("adding nothing", "101 values", ways, CPU, tolerance=1e-4)
    assert row.agrees == agrees
    assert ("DIFFERS" in comparison_table([row])) != agrees


def test_a_comparison_sees_what_a_call_holds() -> None:
    def wasteful() -> torch.Tensor:
        return torch.ones(32 << 20).cumsum(0)[:4]  # 128 MiB, twice

    ways = (wasteful, lambda: torch.ones(32).cumsum(0)[:4])
    row = compare("sum of four", "-", ways, CPU, tolerance=0)
    if row.before.peak_bytes is None or row.after.peak_bytes is None:
        pytest.skip("this system does not tell a process's peak of memory")
    assert 240 << 20 < row.before.peak_bytes < 300 << 20
    assert row.after.peak_bytes < 16 << 20


@pytest.mark.slow
@pytest.mark.long
def test_the_cascade_that_is_timed_runs_all_networks() -> None:
    """Tiny networks on a CPU, one step each, through the pool that a graphics card gets."""
    samplers = {name: replace(s, steps=1) for name, s in OFFICIAL_SAMPLERS.items()}
    uses = {
        "structure": ImageUse(64, None), "shape_512": ImageUse(64, 64),
        "shape_1024": ImageUse(128, 64), "texture_1024": ImageUse(128, 128),
    }  # fmt: skip
    options = GenerationOptions(1024, samplers=samplers, image_uses=uses)
    cost = measure_cascade(options, 200, CPU, "keep", _tiny_specs())
    worked = {name for name, seconds in cost.seconds.items() if seconds > 0}
    assert worked == {*_tiny_specs(), "clean_mesh", "bake"} - {"structure_decoder"}
    assert cost.voxels > 40_000 and cost.decoder_flops > 0


def _tiny_specs() -> dict[str, NetworkSpec]:
    """The official configurations with the least sizes that they allow."""
    image = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1,
             "intermediate_size": 16, "patch_size": 4}  # fmt: skip
    narrow = {"model_channels": [8] * 5, "num_blocks": [0] * 5}
    changes = {
        "structure_flow": TINY, "structure_decoder": {"channels": [32, 32, 32]},
        "shape_decoder": narrow, "texture_decoder": narrow, "image_encoder": image, "upsampler": {},
    }  # fmt: skip
    sparse = TINY | {"proj_in_channels": 32}
    for name in ("shape_flow_512", "shape_flow_1024", "texture_flow_1024"):
        changes[name] = sparse
    return {
        name: NetworkSpec(OFFICIAL[name].kind, {**OFFICIAL[name].arguments, **change})
        for name, change in changes.items()
    }
