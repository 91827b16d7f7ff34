"""One step of an optimizer on the same parameters and gradients: ours against
torch.optim's (its default, a loop over tensors, and its fused kernel).
"""

from side_by_side import compare  # first: it sets the number of threads

import numpy as np
import torch

from byhand.optimizers import SGD, Adam

torch.set_num_threads(1)
rng = np.random.default_rng(0)
networks = {"64-32-10": (64, 32, 10), "784-100-10": (784, 100, 10),
            "784-256-10": (784, 256, 10),
            "784-1024-1024-10": (784, 1024, 1024, 10)}
methods = {
    "SGD, momentum 0.9": (SGD, torch.optim.SGD, {"lr": 1e-4, "momentum": 0.9}),
    "Adam": (Adam, torch.optim.Adam, {"lr": 1e-6}),
}
print("ours / PyTorch, one step, float32")
for name, (ours, theirs, settings) in methods.items():
    for network, widths in networks.items():
        shapes = [shape for m, d in zip(widths[1:], widths) for shape in ((m, d), (m,))]
        params = {str(i): rng.normal(size=shape).astype(np.float32)
                  for i, shape in enumerate(shapes)}
        grads = {i: rng.normal(size=value.shape).astype(np.float32)
                 for i, value in params.items()}
        step = ours(params, **settings).step
        for fused in (False, True):
            tensors = [torch.tensor(value, requires_grad=True)
                       for value in params.values()]
            for tensor, grad in zip(tensors, grads.values()):
                tensor.grad = torch.tensor(grad)
            optimizer = theirs(tensors, fused=fused, **settings)
            label = f"{name}, {network}{', fused' if fused else ''}"
            compare(label, lambda: step(grads), optimizer.step, repeats=50)
