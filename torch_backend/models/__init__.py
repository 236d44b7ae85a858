"""The models of mlxworld, read a second time: here `..nn`, `..ops` and `..random` are PyTorch's."""

import importlib.util

_spec = importlib.util.find_spec("mlxworld")
assert _spec is not None and _spec.submodule_search_locations
__path__ = [f"{_spec.submodule_search_locations[0]}/models"]
