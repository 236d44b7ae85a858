"""Configurations: frozen dataclasses, one file a model family, with its presets. Units are in the comments."""

from ..families import folders

__path__ += folders("configs")
