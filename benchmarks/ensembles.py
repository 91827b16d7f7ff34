"""Training the members of an ensemble, one after another against all at once, in our
own code.
"""

from side_by_side import compare  # first: it sets the number of threads

import numpy as np

from byhand.backprop import train
from byhand.experiments import SideBySide, mlp, stack
from byhand.losses import CrossEntropyLoss

rng = np.random.default_rng(0)
x, y = rng.normal(size=(300, 64)), rng.integers(10, size=300)


def epoch(model, loss, x, y):
    train(model, loss, x, y, lr=1e-3, epochs=1, batch_size=50,
          rng=np.random.default_rng(0))


print("one after another / all at once, one pass over 300 digits in batches of 50, "
      "float64")
for hidden in (16, 32, 64, 256):
    for members in (5, 10, 100):
        models = [mlp([64, hidden, 10], rng) for _ in range(members)]
        together, both = stack(models), SideBySide(CrossEntropyLoss(reduction="sum"))
        many_x, many_y = (np.repeat(x[:, None], members, axis=1),
                          np.repeat(y[:, None], members, axis=1))
        compare(
            f"{members} members, 64-{hidden}-10",
            lambda: [epoch(model, CrossEntropyLoss(), x, y) for model in models],
            lambda: epoch(together, both, many_x, many_y),
            repeats=20,
        )
