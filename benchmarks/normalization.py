"""Batch normalization of 256 x 512 float32 numbers, ours against PyTorch's: forward,
forward and backward with the upstream gradient given, and the same as in a step of
training, from a scalar loss. And what whitening would take: the eigenvectors of the
features' covariance, against their mean and variance.
"""

from side_by_side import compare  # first: it sets the number of threads

import numpy as np
import torch

from byhand.normalization import BatchNorm1d

torch.set_num_threads(1)
rng = np.random.default_rng(0)
x = rng.normal(2, 3, (256, 512)).astype(np.float32)
dy = rng.normal(size=x.shape).astype(np.float32)
ours, theirs = BatchNorm1d(512, dtype=np.float32), torch.nn.BatchNorm1d(512)
inputs, upstream = torch.tensor(x, requires_grad=True), torch.tensor(dy)
leaves = [inputs, *theirs.parameters()]


def by_hand():
    ours.forward(x)
    ours.backward(dy)


def given_upstream():
    torch.autograd.grad(theirs(inputs), leaves, upstream)


def from_a_loss():
    torch.autograd.grad((theirs(inputs) * upstream).sum(), leaves)


def by_hand_from_a_loss():
    np.vdot(ours.forward(x), dy)
    ours.backward(dy)


print("ours / PyTorch, BatchNorm1d, 256 x 512")
compare("forward", lambda: ours.forward(x), lambda: theirs(inputs))
compare("forward and backward, upstream gradient given", by_hand, given_upstream)
compare("forward and backward from a loss", by_hand_from_a_loss, from_a_loss)
print("eigenvectors of the covariance / mean and variance, 256 examples")
for features in (64, 512):
    batch = rng.normal(size=(256, features))
    covariance = np.cov(batch, rowvar=False)
    compare(f"{features} features", lambda: np.linalg.eigh(covariance),
            lambda: (batch.mean(axis=0), batch.var(axis=0)), repeats=10)
