"""The table of models is whole, pinned and safe, and docs/models.md shows it."""

from __future__ import annotations

import re

import pytest

from flows.plan import STAGES
from stages.backends import backend_names
from stages.model_table import ModelEntry, known_model, model_table
from support import ROOT
from support.models_page import with_tables

MODELS = list(model_table().values())
# torch.load(weights_only=True) reads these, which holds tensors and plain values only.
READ_WITH_WEIGHTS_ONLY = (
    "model.pt",
    *(f"direct3d-s2-v-1-{minor}/model_{part}.ckpt" for minor in (0, 1)
      for part in ("dense", "sparse_512", "sparse_1024", "refiner", "refiner_1024")),
)  # fmt: skip
# No commit of it is known here: the first pull's is recorded and kept.
NOT_PINNED = {"direct3d-s2", "direct3d-s2-v1.0"}


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.name)
def test_every_row_is_pinned_and_belongs_to_a_backend(model: ModelEntry) -> None:
    assert re.fullmatch(r"[0-9a-f]{40}", model.revision) or model.name in NOT_PINNED
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", model.repo)
    assert model.backend in backend_names(STAGES[model.stage])
    assert model.licence and model.about and model.gigabytes > 0
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in model.sha256.values())
    assert bool(model.memory_gb) <= bool(model.memory_source)


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.name)
def test_weights_are_safetensors_but_for_named_exceptions(model: ModelEntry) -> None:
    pickles = [f for f in model.files if f.endswith((".pt", ".pth", ".bin", ".ckpt", ".pkl"))]
    assert all(file in READ_WITH_WEIGHTS_ONLY for file in pickles)
    assert not any(f.endswith(("*", "*.*")) and "/" not in f for f in model.files)


def test_a_gated_model_has_an_ungated_one_of_its_stage() -> None:
    gated = [m for m in MODELS if m.gated]
    assert gated
    for model in gated:
        other = known_model(model.instead)
        assert not other.gated and other.stage == model.stage
    assert all(known_model(name) for m in MODELS for name in m.also)


def test_an_unknown_model_gets_the_closest_name() -> None:
    with pytest.raises(ValueError, match="did you mean moge-2-vitl"):
        known_model("moge2-vitl")


def test_the_page_of_models_is_up_to_date() -> None:
    page = (ROOT / "docs" / "models.md").read_text("utf-8")
    assert with_tables(page) == page, (
        "run: PYTHONPATH=tests python -m support.models_page docs/models.md"
    )
