"""Names of types for annotations. A model file is read by both backends, so it can name the array of neither."""

from typing import Any

Array = Any  # mlx.core.array or torch.Tensor
State = Any  # a tree of arrays, of the same shapes at every frame
