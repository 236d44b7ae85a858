"""Models, written once. Relative imports bind them to a backend: see `mlxworld.on`."""

from ..families import folders

__path__ += folders("models")
