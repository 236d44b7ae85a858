"""Products of matrices on the CPU, for play: in bfloat16, weights laid out for oneDNN once. All else stays float32.

A frame's few rows times a matrix take a quarter of their float32 time on chips that multiply in bfloat16; turning
everything into bfloat16 gains nothing on top, unless it is compiled. Knows nothing of models.
"""

import torch
from torch import nn

from .nn import roles

ROWS = 32  # about as many as a frame has tokens: what the layout is chosen for


class PackedLinear(nn.Module):
    """Linear with bfloat16 weights; float in and out. They lie in oneDNN's own layout, where it knows bfloat16 on this
    chip."""

    def __init__(self, layer: nn.Linear):
        super().__init__()
        self.bias = None if layer.bias is None else layer.bias.detach().bfloat16()
        weight, self.laid_out = layer.weight.detach().bfloat16(), known()
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS) if self.laid_out else weight

    def forward(self, x):
        if not self.laid_out:
            return nn.functional.linear(x.bfloat16(), self.packed, self.bias).to(x.dtype)
        return torch.ops.mkldnn._linear_pointwise(x.bfloat16(), self.packed, self.bias, "none", [], "").to(x.dtype)


def known() -> bool:
    """Whether oneDNN has products in bfloat16 for this chip, fast or not: it has none without AVX-512."""
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def fast() -> bool:
    """Whether this chip multiplies in bfloat16."""
    chip = torch.cpu.get_capabilities()
    return torch.backends.mkldnn.is_available() and bool(chip.get("avx512_bf16") or chip.get("amx_bf16"))


def pack(model: nn.Module) -> nn.Module:
    """The model itself, its Linear layers packed, but for first layers and heads, which keep their precision."""
    marks = roles(model)
    for name, layer in list(model.named_modules()):
        if isinstance(layer, nn.Linear) and marks.get(f"{name}.weight") not in ("input", "head"):
            model.set_submodule(name, PackedLinear(layer))
    return model
