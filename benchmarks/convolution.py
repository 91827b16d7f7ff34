"""Ours against PyTorch, float32: Conv2d(1, 30, 5) on 28 x 28, forward and backward, and
a training step of conv 30@5x5 - ReLU - pool - 100 - 10, batch 100.

    python benchmarks/convolution.py [threads]
"""

import sys

threads = sys.argv[1] if len(sys.argv) > 1 else "1"

from side_by_side import compare  # first: it sets the number of threads

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from byhand.backprop import Linear, ReLU, Sequential
from byhand.convolution import Conv2d, Flatten, MaxPool2d
from byhand.losses import CrossEntropyLoss

torch.set_num_threads(int(threads))
threadpool_limits(int(threads))
rng = np.random.default_rng(0)
x = rng.random((100, 1, 28, 28), dtype="float32")
t = rng.integers(10, size=100)
inputs, targets = torch.tensor(x), torch.tensor(t)
wanted = torch.tensor(x, requires_grad=True)

print(f"ours / PyTorch, float32, {threads} thread(s)")
layer = Conv2d(1, 30, 5, rng=rng, dtype="float32")
module = torch.nn.Conv2d(1, 30, 5)
dy = rng.random((100, 30, 24, 24), dtype="float32")
upstream = torch.tensor(dy)


def ours(input_grad):
    layer.forward(x)
    layer.backward(dy, input_grad=input_grad)


def autograd(given):
    module.zero_grad()
    module(given).backward(upstream)


compare("Conv2d, forward and backward, no dx", lambda: ours(False),
        lambda: autograd(inputs), repeats=50)
compare("Conv2d, forward and backward, with dx", lambda: ours(True),
        lambda: autograd(wanted), repeats=50)

model = Sequential(Conv2d(1, 30, 5, rng=rng, dtype="float32"), ReLU(), MaxPool2d(2),
                   Flatten(), Linear(4320, 100, rng=rng, dtype="float32"), ReLU(),
                   Linear(100, 10, rng=rng, dtype="float32"))
loss = CrossEntropyLoss()
theirs = torch.nn.Sequential(
    torch.nn.Conv2d(1, 30, 5), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
    torch.nn.Flatten(), torch.nn.Linear(4320, 100), torch.nn.ReLU(),
    torch.nn.Linear(100, 10))
descent = torch.optim.SGD(theirs.parameters(), lr=0.01)


def our_step():
    loss.forward(model.forward(x), t)
    model.backward(loss.backward(), input_grad=False)
    grads = model.grads
    for name, param in model.params.items():
        param -= np.float32(0.01) * grads[name]


def their_step():
    descent.zero_grad()
    torch.nn.functional.cross_entropy(theirs(inputs), targets).backward()
    descent.step()


compare("training step, conv 30@5x5 - pool - 100 - 10", our_step, their_step,
        repeats=50)
