"""Image processors: pictures in, numpy arrays and a prompt's pieces out, pixel for pixel as published.

whole.py          one square                                   CLIP, LLaVA-1.5, SigLIP, DINOv2, BiomedCLIP, idefics
anyres.py         the whole, and tiles of a page               LLaVA-NeXT
grids.py          patches at the picture's ratio, and films    Qwen2-VL
pan_and_scan.py   the whole, and crops along its length        Gemma 3
pages.py          tiles of a page, and the page small          Phi-3-Vision
crops.py          the whole, and crops that overlap            Molmo
dynamic_tiles.py  tiles, and a thumbnail                       InternVL, NVLM
canvas.py         tiles of a canvas                            Llama 3.2 Vision

`load(folder)` reads which one a published model wants. prepared.py says what they give, pixels.py what they share.
"""

from .load import biomedclip, load, of
from .pixels import read
from .prepared import Prepared, Processor

__all__ = ["Prepared", "Processor", "biomedclip", "load", "of", "read"]
