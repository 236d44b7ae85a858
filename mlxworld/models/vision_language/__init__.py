"""Models that see pictures and films and write text: one decoder, one tower, few ways between them.

model.py  Model         decoder.py  words, caches         vision.py  tower, projector, the order of features
tower.py  projector.py  positions.py  tiles.py  packing.py  the parts of `Vision`
dual.py   a picture beside a text (CLIP)                  hivilt.py  both at several levels (our own)
"""

from .dual import DualEncoder
from .hivilt import HiViLT
from .model import Model
from .vision import Vision

__all__ = ["DualEncoder", "HiViLT", "Model", "Vision"]
