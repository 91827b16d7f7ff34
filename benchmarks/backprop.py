"""Ours against PyTorch: a forward and a backward pass of a network 784-width-10 in
float64, and training steps of 784-100-10 in float32.
"""

from side_by_side import compare  # first: it sets the number of threads

import numpy as np
import torch

from byhand.backprop import Linear, MSELoss, ReLU, Sequential, Sigmoid, train

torch.set_num_threads(1)
rng = np.random.default_rng(0)
mse = torch.nn.functional.mse_loss


def networks(width, activation, dtype):
    ours = Sequential(Linear(784, width, rng=rng, dtype=dtype), activation(),
                      Linear(width, 10, rng=rng, dtype=dtype))
    theirs = torch.nn.Sequential(torch.nn.Linear(784, width),
                                 getattr(torch.nn, activation.__name__)(),
                                 torch.nn.Linear(width, 10))
    return ours, theirs.to(getattr(torch, dtype))


print("ours / PyTorch, forward and backward, float64")
for width in (32, 128, 512):
    for batch in (10, 100, 1000):
        x, t = rng.random((batch, 784)), rng.random((batch, 10))
        (model, theirs), loss = networks(width, ReLU, "float64"), MSELoss()
        inputs, targets = torch.tensor(x), torch.tensor(t)

        def ours():
            loss.forward(model.forward(x), t)
            model.backward(loss.backward(), input_grad=False)

        def autograd():
            theirs.zero_grad()
            mse(theirs(inputs), targets).backward()

        compare(f"width {width}, batch {batch}", ours, autograd, repeats=30)

print("ours / PyTorch, ten training steps of 784-100-10, batch 100, SGD, float32")
x, t = rng.random((100, 784), dtype="float32"), rng.random((100, 10), dtype="float32")
inputs, targets = torch.tensor(x), torch.tensor(t)
for activation in (ReLU, Sigmoid):
    model, theirs = networks(100, activation, "float32")
    descent = torch.optim.SGD(theirs.parameters(), lr=0.1)

    def ours():
        train(model, MSELoss(), x, t, lr=0.1, epochs=10, batch_size=100, rng=rng)

    def autograd():
        for _ in range(10):
            order = torch.randperm(100)
            descent.zero_grad()
            mse(theirs(inputs[order]), targets[order]).backward()
            descent.step()

    compare(activation.__name__, ours, autograd, repeats=100)
