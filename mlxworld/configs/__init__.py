"""Configurations: frozen dataclasses, one file a model family, with its presets. Units are in the comments."""
