"""How a family is trained: its stages, data and samples. One file a family."""

from ..families import folders

__path__ += folders("recipes")
