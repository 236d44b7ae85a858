"""Layouts of files: one module for each foreign format, and one for each format of our own that is no longer written.

A world's folder of format n of a family is read by `FAMILY_n.py`, where there is one, which leads to format n + 1:

    CONFIG: old names of settings to new ones, dotted; None drops one           (see `names.renamed`)
    WEIGHTS: old names of parameters to new ones, only those that differ        (see `names.to_ours`)
"""

import importlib
import importlib.util
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import numpy as np

from .. import names

FORMAT = 2  # of a world's folder, as it is written now


def upgrade(
    number: int, family: str, config: Mapping[str, Any], weights: Mapping[str, np.ndarray], source: str = "the world"
) -> tuple[dict[str, Any], Mapping[str, np.ndarray]]:
    """The settings of a model and its arrays, of format `number`, under the names of FORMAT. No array is read."""
    return upgrade_config(number, family, config, source), upgrade_weights(number, family, weights, source)


def upgrade_config(number: int, family: str, config: Mapping[str, Any], source: str = "the world") -> dict[str, Any]:
    """A model's settings of format `number` under the names of FORMAT. Raises MlxworldError where two would be one."""
    for layout in _layouts(number, family):
        config = names.renamed(config, layout.CONFIG, source)
    return dict(config)


def upgrade_weights(
    number: int, family: str, weights: Mapping[str, np.ndarray], source: str = "the world"
) -> Mapping[str, np.ndarray]:
    """A model's arrays of format `number`, quantised ones too, under the names of FORMAT: the layers' own names."""
    for layout in _layouts(number, family):
        weights = names.to_ours(weights, names.with_packed(layout.WEIGHTS), source, partial=True)
    return weights


def _layouts(number: int, family: str) -> Iterator[ModuleType]:
    for n in range(number, FORMAT):
        name = f"{__name__}.{family}_{n}"
        if family.isidentifier() and importlib.util.find_spec(name):
            yield importlib.import_module(name)
