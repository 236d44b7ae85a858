"""The same four modules as mlxworld (nn, ops, random, engine) on PyTorch, and the same models, read a second time."""
