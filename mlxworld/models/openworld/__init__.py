"""OpenWorld: video, sound and the action taken in; the next frames with their sound out.

model.py     TransformerWorldModel, and the AudioVideoTokenizer inside it
vision.py    SpatioTemporalEncoding, VisionEncoder        audio.py     AudioEncoder, AudioDecoder
fusion.py    CrossModalAttention, CrossModalFusion        latent.py    LatentCompressor, LatentProcessor
dynamics.py  LatentDynamics, the rings of the past               decoder.py   VideoDecoder
signal.py    spectra                                      losses.py    what training minimises
"""

from .model import TransformerWorldModel as Model

__all__ = ["Model"]
