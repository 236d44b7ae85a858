"""A fast BLAS for MLX's CPU build on Linux. Imported for its effect, before MLX is.

The wheel `mlx-cpu` links the reference BLAS: a 1024 x 1024 float32 product takes 400 ms. PyTorch's library, where it is
installed, brings the same symbols (from MKL or OpenBLAS) and takes 11 ms. Loaded globally first, it is where MLX finds
them. PyTorch itself is not imported. `MLXWORLD_BLAS=0` leaves MLX as it is.

Its team of threads leaves one core alone, unless OMP_NUM_THREADS says otherwise: on a busy machine a team that fills it
stalls (2 cores, both busy: 4 frames a second with 2 threads, 10 with 1).
"""

import ctypes
import importlib.metadata
import importlib.util
import logging
import os
import sys
from pathlib import Path


def load() -> bool:
    """Loads PyTorch's CPU library where it helps; says whether it did. Does nothing once MLX is loaded."""
    if sys.platform != "linux" or os.environ.get("MLXWORLD_BLAS") == "0" or "mlx.core" in sys.modules:
        return False
    torch = importlib.util.find_spec("torch")
    if torch is None or not torch.submodule_search_locations or not _reference_blas():
        return False
    alone = "OMP_NUM_THREADS" not in os.environ and "torch" not in sys.modules
    try:
        if alone:  # read once, when OpenMP is loaded
            os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 2) - 1))
        ctypes.CDLL(str(Path(torch.submodule_search_locations[0], "lib", "libtorch_cpu.so")), mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        logging.getLogger(__name__).warning("MLX stays on its slow BLAS: %s", error)
        return False
    finally:
        if alone:
            del os.environ["OMP_NUM_THREADS"]
    return True


def _reference_blas() -> bool:
    try:
        return bool(importlib.metadata.version("mlx-cpu"))
    except importlib.metadata.PackageNotFoundError:
        return False


loaded = load()
