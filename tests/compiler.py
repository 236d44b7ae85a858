"""Whether programs can be compiled for the CPU here: what tests of compiled steps need."""

import shutil
import sysconfig
from pathlib import Path

import pytest

CAN_COMPILE = bool(
    (shutil.which("g++") or shutil.which("clang++")) and (Path(sysconfig.get_path("include")) / "Python.h").exists()
)
needs_compiler = pytest.mark.skipif(
    not CAN_COMPILE, reason="compiling for the CPU needs a C++ compiler and Python's headers"
)
