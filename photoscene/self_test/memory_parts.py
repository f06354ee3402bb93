"""The self-test's parts of the device itself: its arithmetic, and what happens without memory."""

from __future__ import annotations

from photoscene.self_test.bench import (
    FLOAT_TOLERANCE,
    HALF_TOLERANCE,
    Bench,
    Part,
    Wrong,
    check_close,
    remark,
)

TORCH: dict[str, str] = {"torch": "pip install -e '.[pixal3d]'"}
MIN_TORCH = (2, 11)
TOO_MUCH = 1 << 50  # bytes, more than any device has


def check_arithmetic(bench: Bench) -> str:
    """Matrix products and attention in every type that the networks compute in."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    version = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    if version < MIN_TORCH:
        raise Wrong(
            f"torch {torch.__version__}: at least {'.'.join(map(str, MIN_TORCH))} is needed"
        )
    random = torch.Generator().manual_seed(1)
    a, b = torch.randn(96, 64, generator=random), torch.randn(64, 80, generator=random)
    q, k, v = torch.randn(3, 1, 4, 48, 32, generator=random)
    product, attended = a @ b, scaled_dot_product_attention(q, k, v)
    worst = 0.0
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        limit = FLOAT_TOLERANCE if dtype == torch.float32 else HALF_TOLERANCE
        made = a.to(bench.device, dtype) @ b.to(bench.device, dtype)
        worst = max(worst, check_close(f"a product in {dtype}", (made, product), limit))
        here = torch.stack((q, k, v)).to(bench.device, dtype)
        made = scaled_dot_product_attention(here[0], here[1], here[2])
        worst = max(worst, check_close(f"attention in {dtype}", (made, attended), limit))
    return f"torch {torch.__version__}, products and attention: {remark(worst)}"


def check_out_of_memory(bench: Bench) -> str:
    """The device's own error is recognised, everything idle is freed, and the work done again."""
    import torch

    from stages import devices, generate
    from stages.generate.pixal3d import Pixal3D, Settings

    pool, attempts, freed = devices.ModelPool(bench.device), [], []
    weights = str(bench.weights("pixal3d"))
    idle, busy = (Settings(weights=weights, precision=p) for p in ("float32", "bfloat16"))

    def work() -> str:
        attempts.append(pool.held_bytes)
        if len(attempts) == 1:
            torch.zeros(TOO_MUCH, dtype=torch.uint8, device=bench.device)
        return "done"

    with pool.borrow(generate.STAGE, "pixal3d", idle) as model:
        assert isinstance(model, Pixal3D)
        networks = model.loaded_checkpoint(False).networks
        with networks.borrow("structure_decoder"):
            pass
    with pool.borrow(generate.STAGE, "pixal3d", busy):
        try:
            devices.retrying_after_freeing(work, lambda: freed.append(1), "the self-test", "none")
        except (RuntimeError, MemoryError) as error:
            why = str(error).split("\n")[0]
            raise Wrong(f"lack of memory is not recognised, or not tried again ({why})") from None
    if not freed or attempts[1] >= attempts[0]:
        raise Wrong("lack of memory: nothing was freed before the second try")
    return f"recognised, {attempts[0] - attempts[1]} idle bytes freed, tried again"


PARTS = (
    Part("arithmetic", TORCH, check_arithmetic),
    Part(
        "out of memory",
        {**TORCH, "safetensors": "pip install -e '.[pixal3d]'"},
        check_out_of_memory,
    ),
)
