"""A forward and a backward pass of a network 784-width-10 in float64: ours against
PyTorch's autograd.
"""

from side_by_side import compare  # first: it sets the number of threads

import numpy as np
import torch

from byhand.backprop import Linear, MSELoss, ReLU, Sequential

torch.set_num_threads(1)
rng = np.random.default_rng(0)
print("ours / PyTorch, forward and backward")
for width in (32, 128, 512):
    for batch in (10, 100, 1000):
        x, t = rng.random((batch, 784)), rng.random((batch, 10))
        model, loss = (Sequential(Linear(784, width, rng=rng), ReLU(),
                                  Linear(width, 10, rng=rng)), MSELoss())
        theirs = torch.nn.Sequential(torch.nn.Linear(784, width), torch.nn.ReLU(),
                                     torch.nn.Linear(width, 10)).double()
        inputs, targets = torch.tensor(x), torch.tensor(t)

        def ours():
            loss.forward(model.forward(x), t)
            model.backward(loss.backward())

        def autograd():
            theirs.zero_grad()
            torch.nn.functional.mse_loss(theirs(inputs), targets).backward()

        compare(f"width {width}, batch {batch}", ours, autograd, repeats=30)
