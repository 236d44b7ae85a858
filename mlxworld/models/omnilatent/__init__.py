"""OmniLatent: any of text, sound, pictures and video in, any out."""

from .model import OmniLatentModel

Model = OmniLatentModel

__all__ = ["Model", "OmniLatentModel"]
