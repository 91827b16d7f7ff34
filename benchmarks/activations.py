"""Activation functions in float32, each against ReLU, which is said to be six times
faster: among ours, and among PyTorch's.
"""

from side_by_side import compare  # first: it sets the number of threads

import numpy as np
import torch

from byhand import activations, backprop

torch.set_num_threads(1)
rng = np.random.default_rng(0)
NAMES = ["Sigmoid", "Tanh", "Softsign", "ReLU", "LeakyReLU", "ELU", "CELU", "SELU",
         "Softplus", "SiLU", "GELU", "Mish", "Hardswish"]


def forwards(name, x):
    """The forward pass of one function in both libraries, on the same numbers."""
    ours = getattr(activations, name, None) or getattr(backprop, name)
    layer, theirs, tensor = ours(), getattr(torch.nn, name)(), torch.tensor(x)
    return lambda: layer.forward(x), lambda: theirs(tensor)


for library, which in (("NumPy", 0), ("PyTorch", 1)):
    for size in (1_000, 100_000, 3_000_000):
        print(f"each / ReLU in {library}, forward, {size:,} numbers")
        x = rng.normal(size=size).astype(np.float32)
        for name in NAMES:
            compare(name, forwards(name, x)[which], forwards("ReLU", x)[which],
                    repeats=15)
