"""The flow transformer: its fast paths give the numbers of the plain ones; official types."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

torch = pytest.importorskip("torch", reason="the generator's extra: pip install -e '.[pixal3d]'")

from torch import Tensor, nn  # noqa: E402

from benchmarks.generator.launches import launches  # noqa: E402
from pixal3d.flow import (  # noqa: E402
    Condition,
    Flow,
    FlowConfig,
)
from pixal3d.velocity import ConditionedFlow, conditioned  # noqa: E402
from sparse3d.attention import (  # noqa: E402
    TokenLayout,
    compiled,
    normed,
    normed_and_rotated,
    normed_and_rotated_by_steps,
    normed_by_steps,
    token_layout,
)
from sparse3d.sampling import Sampler, sample, time_grid  # noqa: E402
from sparse3d.transformer import modulated, modulated_by_steps  # noqa: E402
from sparse3d.voxels import Voxels, full_grid  # noqa: E402

CONFIG = FlowConfig(
    in_channels=8, out_channels=8, model_channels=48, context_channels=24, projected_channels=32,
    num_blocks=3, num_heads=3,
)  # fmt: skip


def _flow(config: FlowConfig = CONFIG, dtype: torch.dtype = torch.float32) -> Flow:
    torch.manual_seed(0)
    flow = Flow(config, dtype)
    for parameter in flow.parameters():
        fan_in = parameter.shape[-1] if parameter.ndim > 1 else 4
        nn.init.normal_(parameter, std=fan_in**-0.5)
    return flow.requires_grad_(False).eval()


def _condition(voxels: Voxels, config: FlowConfig = CONFIG) -> Condition:
    batch = len(voxels.lengths)
    projected = config.projected_channels and torch.randn(len(voxels), config.projected_channels)
    return Condition(torch.randn(batch, 5, config.context_channels), projected)


def _some_voxels(*lengths: int) -> Voxels:
    rows = []
    for item, length in enumerate(lengths):
        cells = torch.randperm(1000)[:length].sort().values
        xyz = torch.stack([cells // 100, cells // 10 % 10, cells % 10], 1)
        rows.append(torch.cat([torch.full((length, 1), item), xyz], 1))
    return Voxels(torch.cat(rows).int())


def test_kept_terms_are_the_terms() -> None:
    """Projection terms that are kept, kept in part, and computed anew give the same velocity."""
    flow, voxels = _flow(), _some_voxels(40)
    condition, x, time = _condition(voxels), torch.randn(40, 8), torch.tensor([700.0])
    one_term = 40 * 48 * 4
    velocities = []
    for budget, kept in ((0, 0), (one_term, 1), (2 * one_term + 5, 2), (1 << 30, 3)):
        prepared = flow.prepare(condition, voxels.lengths, budget)
        assert [b.term is not None for b in prepared.blocks] == [i < kept for i in range(3)]
        velocities.append(flow(x, time, flow.layout(voxels), prepared))
    for velocity in velocities[1:]:
        torch.testing.assert_close(velocity, velocities[0], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_both_passes_as_one_are_the_two(dtype: torch.dtype) -> None:
    flow, voxels = _flow(dtype=dtype), _some_voxels(50)
    condition, x = _condition(voxels), torch.randn(50, 8)
    two = conditioned(flow, voxels, condition, batch_rows=99)
    one = conditioned(flow, voxels, condition, batch_rows=100)
    assert (two.batched, one.batched) == (False, True)
    tolerance = 1e-5 if dtype == torch.float32 else 0.03
    for got, expected in zip(one.both(x, 0.8), two.both(x, 0.8), strict=True):
        torch.testing.assert_close(got, expected, atol=tolerance, rtol=tolerance)
    assert not torch.allclose(*two.both(x, 0.8), atol=0.1)


def test_objects_do_not_see_each_other() -> None:
    """A batch of objects of unequal size is each of them by itself."""
    flow, voxels = _flow(), _some_voxels(30, 45, 45)
    condition, x = _condition(voxels), torch.randn(120, 8)
    time = torch.tensor([900.0, 400.0, 100.0])
    prepared = flow.prepare(condition, voxels.lengths)
    together = flow(x, time, flow.layout(voxels), prepared).split(voxels.lengths)
    start = 0
    for item, length in enumerate(voxels.lengths):
        rows = slice(start, start + length)
        coords = voxels.coords[rows].clone()
        coords[:, 0] = 0
        alone = Voxels(coords)
        seen = Condition(condition.context[item : item + 1], condition.projected[rows])
        velocity = flow(
            x[rows], time[item : item + 1], flow.layout(alone), flow.prepare(seen, (length,))
        )
        torch.testing.assert_close(together[item], velocity, atol=1e-5, rtol=1e-5)
        start += length


def test_official_types() -> None:
    """bfloat16 is for linear layers inside the blocks; everything else stays float32."""
    flow = _flow(dtype=torch.bfloat16)
    linear_in_blocks = {
        f"{name}.{kind}"
        for name, module in flow.named_modules()
        if isinstance(module, nn.Linear) and name.startswith("blocks.")
        for kind in ("weight", "bias")
    }
    assert len(linear_in_blocks) == 3 * 8 * 2
    for name, parameter in flow.named_parameters():
        expected = torch.bfloat16 if name in linear_in_blocks else torch.float32
        assert parameter.dtype == expected, name
    voxels = _some_voxels(20)
    prepared = flow.prepare(_condition(voxels), voxels.lengths)
    velocity = flow(torch.randn(20, 8), torch.tensor([500.0]), flow.layout(voxels), prepared)
    assert velocity.dtype == torch.float32


def test_a_flow_without_projection_takes_no_features() -> None:
    config = replace(CONFIG, projected_channels=None)
    flow, voxels = _flow(config), _some_voxels(20)
    flow.prepare(_condition(voxels, config), voxels.lengths)
    with pytest.raises(ValueError, match="given or expected"):
        flow.prepare(_condition(voxels), voxels.lengths)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fused_steps_equal_their_readable_twins(dtype: torch.dtype) -> None:
    """Norms, rotary phases and modulation; a half type differs by its roundings in between."""
    layout = token_layout(_some_voxels(40).coords[:, 1:], (40,), 16)
    heads = (30 * torch.randn(40, 2, 3, 16)).to(dtype)
    heads[3, 0, 1] = 0
    gains = torch.rand(2, 3, 16) + 0.5
    x, shift, scale = (torch.randn(n, 48).to(dtype) for n in (40, 1, 1))
    twins = (
        (normed, normed_by_steps, (heads, gains)),
        (normed_and_rotated, normed_and_rotated_by_steps, (heads, gains, layout)),
        (modulated, modulated_by_steps, (x, shift, scale)),
    )
    tolerance = 1e-6 if dtype == torch.float32 else 2 * torch.finfo(dtype).eps
    for fused, by_steps, inputs in twins:
        made, expected = fused(*inputs), by_steps(*inputs)
        assert made.dtype == dtype and made.isfinite().all()
        torch.testing.assert_close(made, expected, atol=tolerance, rtol=tolerance)


def test_fused_steps_launch_less_and_move_half_the_bytes() -> None:
    heads = torch.zeros(4096, 2, 12, 128, dtype=torch.bfloat16, device="meta")
    x, row = heads[:, 0].flatten(1), heads[:1, 0].flatten(1)
    phases = torch.zeros(4096, 1, 64, device="meta")
    layout = TokenLayout((4096,), phases, phases)
    _ = layout.phases  # computed once for all blocks and steps
    rotary = (heads, torch.zeros(2, 12, 128, device="meta"), layout)
    for fused, by_steps, inputs in (
        (normed_and_rotated, normed_and_rotated_by_steps, rotary),
        (modulated, modulated_by_steps, (x, row, row)),
    ):
        few, many = (launches(lambda f=f, i=inputs: f(*i)) for f in (fused, by_steps))
        assert few.operations <= many.operations / 1.5
        assert few.moved_bytes <= many.moved_bytes / 2


@pytest.mark.slow
def test_compiled_steps_survive_loans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects of any size, networks that were moved and read anew: nothing is compiled again."""
    graphs: list[object] = []

    def counting(graph: torch.fx.GraphModule, _: object) -> object:
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(
        "sparse3d.attention.torch.compile", partial(torch.compile, backend=counting)
    )
    monkeypatch.setattr("sparse3d.attention._compiled", {})
    reused, counts = _flow(), []
    reused.compile_steps()
    for flow, tokens in ((reused, 40), (_flow(), 40), (reused, 57), (_flow(), 24)):
        flow.compile_steps()
        resting = {name: tensor.clone() for name, tensor in flow.state_dict().items()}
        flow.load_state_dict(resting, assign=True)  # as after a visit to a device
        voxels = _some_voxels(tokens)
        condition, x = _condition(voxels), torch.randn(tokens, 8)
        made = conditioned(flow, voxels, condition).both(x, 0.7)
        expected = conditioned(_flow(), voxels, condition).both(x, 0.7)
        torch.testing.assert_close(made, expected, atol=1e-5, rtol=1e-5)
        counts.append(len(graphs))
    assert counts[0] > 0 and counts == counts[:1] * 4


@pytest.mark.long
@pytest.mark.slow
def test_compiled_steps_give_the_numbers_of_plain_ones() -> None:
    layout = token_layout(_some_voxels(40).coords[:, 1:], (40,), 16)
    inputs = torch.randn(40, 2, 3, 16, dtype=torch.bfloat16), torch.rand(2, 3, 16), layout
    made = compiled(normed_and_rotated_by_steps)(*inputs)
    expected = normed_and_rotated_by_steps(*inputs)
    torch.testing.assert_close(made, expected, atol=0.03, rtol=0.03)


def test_full_grid_runs_z_fastest() -> None:
    coords = full_grid(2, 3).coords
    assert coords.shape == (54, 4)
    assert coords[:4].tolist() == [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 2], [0, 0, 1, 0]]
    assert coords[27].tolist() == [1, 0, 0, 0]


class _Towards:
    """The exact velocity of a flow that ends in one point, counting its calls."""

    def __init__(self, target: Tensor) -> None:
        self.target = target
        self.calls: list[str] = []

    def conditional(self, x: Tensor, time: float) -> Tensor:
        self.calls.append("conditional")
        return (x - self.target) / max(time, 1e-9)

    def unconditional(self, x: Tensor, time: float) -> Tensor:
        self.calls.append("unconditional")
        return torch.zeros_like(x)

    def both(self, x: Tensor, time: float) -> tuple[Tensor, Tensor]:
        return self.conditional(x, time), self.unconditional(x, time)


def test_euler_steps_reach_the_data() -> None:
    """Straight paths are followed exactly, whatever the number of steps."""
    target, noise = torch.randn(10, 4), torch.randn(10, 4)
    for steps in (1, 2, 7):
        sampler = Sampler(steps=steps, rescale_time=3)
        last = list(sample(_Towards(target), noise, sampler, (10,)))[-1]
        torch.testing.assert_close(last.x, target, atol=1e-5, rtol=1e-5)
        assert last.time == 0


def test_guided_steps_are_those_of_the_interval() -> None:
    """Released settings: 9 of 12 steps guided, the time 0.6 among them; 10 for the structure."""
    field = _Towards(torch.zeros(6, 4))
    for rescale, guided in ((3.0, 9), (5.0, 10)):
        sampler = Sampler(12, rescale, 7.5, 0.5, (0.6, 1.0))
        field.calls.clear()
        list(sample(field, torch.randn(6, 4), sampler, (6,)))
        assert field.calls.count("conditional") == 12
        assert field.calls.count("unconditional") == guided
    times = time_grid(Sampler(12, 3.0))
    assert times[0] == 1 and times[-1] == 0 and abs(times[8] - 0.6) < 1e-12 and times[8] >= 0.6


def test_full_rescaling_keeps_the_spread_of_the_conditional_prediction() -> None:
    field = _Towards(torch.randn(200, 4))
    x = torch.randn(200, 4)
    for step in sample(field, x, Sampler(1, 1.0, 5.0, 1.0), (120, 80)):
        spreads = [part.std(correction=0) for part in step.x0.split((120, 80))]
        expected = [part.std(correction=0) for part in field.target.split((120, 80))]
        for got, wanted in zip(spreads, expected, strict=True):
            torch.testing.assert_close(got, wanted, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": 0}, "steps"),
        ({"rescale_time": 0.0}, "rescale_time"),
        ({"guidance_rescale": 1.5}, "guidance_rescale"),
    ],
)
def test_a_sampler_refuses_nonsense(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sampler(**values)


def test_the_texture_stage_reads_the_shape_beside_its_noise() -> None:
    config = replace(CONFIG, in_channels=12)
    flow, voxels = _flow(config), _some_voxels(25)
    prepared, concatenated = flow.prepare(_condition(voxels, config), (25,)), torch.randn(25, 4)
    x = torch.randn(25, 8)
    field = ConditionedFlow(flow, flow.layout(voxels), prepared, concatenated, batched=True)
    together = torch.cat([x, concatenated], -1)
    expected = flow(together, torch.tensor([300.0]), flow.layout(voxels), prepared)
    torch.testing.assert_close(field.conditional(x, 0.3), expected)
    torch.testing.assert_close(field.both(x, 0.3)[0], expected, atol=1e-5, rtol=1e-5)
