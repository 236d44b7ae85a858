"""Writes tests/images/published.npz: what the published image processors answer over random sizes of pictures.

    PYTHONPATH=. python tests/images/write.py        where transformers is installed, as for the oracles

Pixels are told by a few numbers each (see `told`), so that the file stays small.
"""

# pyright: reportMissingImports=false

import warnings
from pathlib import Path

import numpy as np
from mlx_vlm.models.molmo.processing_molmo import MolmoImageProcessor
from PIL import Image
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.idefics.image_processing_pil_idefics import IdeficsImageProcessorPil
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from tests.images.cases import SETTINGS, picture, sizes, told

KINDS = {
    "clip": CLIPImageProcessorPil,
    "llava_square": LlavaImageProcessorPil,
    "siglip": SiglipImageProcessorPil,
    "dinov2": BitImageProcessorPil,
    "llava_next": LlavaNextImageProcessorPil,
    "qwen2_vl": Qwen2VLImageProcessorPil,
    "gemma3": Gemma3ImageProcessorPil,
    "internvl": GotOcr2ImageProcessorPil,
    "mllama": MllamaImageProcessorPil,
    "idefics": IdeficsImageProcessorPil,
}


def answers(kind, settings, h, w):
    """{name: array} of one picture."""
    given = KINDS[kind](**settings)(images=[Image.fromarray(picture(h, w))], return_tensors="np")
    if kind == "idefics":
        given = {"pixel_values": given}
    found = {name: np.asarray(given[name]) for name in given if name != "num_tiles"}
    pixels = found.pop("pixel_values")
    if kind == "qwen2_vl":
        _, gh, gw = found["image_grid_thw"][0]
        x = pixels.reshape(gh // 2, gw // 2, 2, 2, 3, 2, 14, 14)  # squares of patches; both frames are one picture
        pixels = x.transpose(4, 0, 2, 6, 1, 3, 7, 5).reshape(3, gh * 14, gw * 14, 2)[..., 0][None]
    pixels = pixels.reshape(-1, *pixels.shape[-3:])
    return found | {"shape": np.array(pixels.shape), "told": told(np.moveaxis(pixels, 1, -1))}


def molmo(h, w):
    """As `answers`; its port resizes in bytes, so of its pixels only the shape is told."""
    process = MolmoImageProcessor(
        max_crops=4,
        overlap_margins=[2, 2],
        base_image_input_size=[112, 112],
        image_token_length_w=4,
        image_token_length_h=4,
    )
    x, tokens, index, masks = process.preprocess(picture(h, w).astype(np.float32) / 255, 0, 1, 2, 3)
    return {"shape": np.array(x.shape), "tokens": tokens, "index": index, "masks": masks}


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    out = {}
    for kind, settings in SETTINGS.items():
        if kind in KINDS:
            for i, (h, w) in enumerate(sizes(kind)):
                try:
                    found = answers(kind, settings, h, w)
                except (ValueError, ZeroDivisionError) as error:
                    print(kind, h, w, error)
                    continue
                for name, x in found.items():
                    out[f"{kind}.{i}.{name}"] = x
    for i, (h, w) in enumerate(sizes("molmo")):
        try:
            out |= {f"molmo.{i}.{name}": x for name, x in molmo(h, w).items()}
        except ValueError as error:
            print("molmo", h, w, error)
    np.savez_compressed(Path(__file__).parent / "published.npz", **out)
    print(len(out), "arrays")
