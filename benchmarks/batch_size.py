"""What a small batch costs in seconds: a training step of the network 64-128-10 with
batches of several sizes against one with 2,000 examples, and the same for each example.
The chapter counts bytes instead.
"""

from side_by_side import compare  # first: it sets the number of threads

import numpy as np

from byhand.backprop import Linear, ReLU, Sequential
from byhand.optimizers import SGD

rng = np.random.default_rng(0)
network = Sequential(Linear(64, 128, rng=rng), ReLU(), Linear(128, 10, rng=rng))
optimizer, pool = SGD(network.params, 1e-6), rng.random((2000, 64))


def step(size):
    network.backward(network.forward(pool[:size]))
    optimizer.step(network.grads)


for size in (1, 10, 100):
    found = compare(f"a step with {size}, against 2,000", lambda: step(size),
                    lambda: step(2000), repeats=30)
    print(f"{'':<4}for each example {found['ratio'] * 2000 / size:.1f}")
