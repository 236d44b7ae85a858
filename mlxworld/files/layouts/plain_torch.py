"""Plain torch.nn layers: our modules' own names, Conv1d and Conv2d weights (out, in, *kernel) as torch.nn keeps them.

The table lists only what differs: see `names.to_ours`, partial.
"""

from ..names import Kernel, Table

_KERNELS = ("audio_encoder.conv{}", "audio_decoder.conv", "video_decoder.stages.{}.conv", "video_decoder.head")
TABLE: Table = {f"tokenizer.{layer}.weight": Kernel(f"tokenizer.{layer}.weight") for layer in _KERNELS}
