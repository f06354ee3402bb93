"""Which arguments does every training command take?"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

import torch

from training.common.task import Recipe

AnyRecipe = TypeVar("AnyRecipe", bound=Recipe)


@dataclass(frozen=True)
class Options(Generic[AnyRecipe]):
    """The recipe; folders of the data and of the run; device; processes beside this one."""

    recipe: AnyRecipe
    data: Path
    out: Path
    device: str
    helpers: int


def read_options(
    argv: Sequence[str] | None, recipes: Mapping[str, AnyRecipe], description: str
) -> Options[AnyRecipe]:
    """The options of a command line; recipes: by device."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, help="default: as the device's recipe says")
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    best = "cuda" if "cuda" in recipes and torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", choices=tuple(recipes), default=best)
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    recipe = recipes[options.device]
    recipe = replace(recipe, seed=options.seed, steps=options.steps or recipe.steps)
    helpers = len(recipe.parts) - 1 if options.device == "cpu" else 0
    return Options(recipe, options.data, options.out, options.device, helpers)
