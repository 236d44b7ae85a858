"""Writes tests/oracles/clip and siglip: tiny random CLIPModel and SiglipModel of transformers, and what they answer.

python tests/oracles/make_pairs.py        where torch and transformers are installed
"""

# pyright: reportMissingImports=false

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

HERE, SIZE = Path(__file__).parent, {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
SIZE |= {"num_attention_heads": 2}
TEXT, SEEN = {**SIZE, "vocab_size": 64, "max_position_embeddings": 12}, {**SIZE, "image_size": 28, "patch_size": 14}


def write(name, model, ids):
    generator, out = torch.Generator().manual_seed(0), HERE / name
    with torch.no_grad():
        for p in model.parameters():  # every one is random, so that a forgotten one shows
            noise = torch.randn(p.shape, generator=generator)
            p.copy_(noise / p.shape[-1] ** 0.5 if p.ndim > 1 else p + 0.2 * noise)
        pixels = torch.randn(3, 3, 28, 28, generator=generator)
        y = model.float().eval()(input_ids=torch.tensor(ids), pixel_values=pixels)
    model.save_pretrained(out)
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    (out / "reference").mkdir(exist_ok=True)
    found = {"in.input_ids": torch.tensor(ids), "in.pixel_values": pixels, "logits": y.logits_per_image}
    found |= {"image_features": y.image_embeds, "text_features": y.text_embeds}
    save_file({k: v.contiguous() for k, v in found.items()}, out / "reference" / "reference.safetensors")


if __name__ == "__main__":
    ids = np.random.default_rng(0).integers(3, 60, (2, 12))
    ids[0, 5], ids[0, 6:], ids[1, 11] = 63, 63, 63  # 63 ends a text, and fills a row
    special = {"eos_token_id": 63, "bos_token_id": 62, "pad_token_id": 63}
    clip = CLIPConfig(text_config={**TEXT, **special}, vision_config=SEEN, projection_dim=16)
    write("clip", CLIPModel(clip), ids.tolist())
    siglip = SiglipConfig(text_config={**TEXT, "pad_token_id": 1, "eos_token_id": 1}, vision_config=SEEN)
    write("siglip", SiglipModel(siglip), ids.tolist())
