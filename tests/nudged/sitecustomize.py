"""Python imports this first where PYTHONPATH names its folder: normal and uniform
random numbers then come larger by one part in 10**14. What a notebook stores should
not depend on it, no more than on the order in which a processor adds up. Pixels stay
as they are: sums of sixteenths, their squares and ties are exact on every processor.
"""

import numpy as np

LARGER = 1 + 1e-14
_default_rng = np.random.default_rng


class Nudged(np.random.Generator):
    """A generator whose weights and noise come larger by one part in 10**14."""

    def normal(self, *arguments, **options):
        return super().normal(*arguments, **options) * LARGER

    def standard_normal(self, *arguments, **options):
        return super().standard_normal(*arguments, **options) * LARGER

    def uniform(self, *arguments, **options):
        return super().uniform(*arguments, **options) * LARGER


def default_rng(seed=None):
    """As np.random.default_rng: a generator that is given is returned as it is."""
    if isinstance(seed, np.random.Generator):
        return seed
    return Nudged(_default_rng(seed).bit_generator)


np.random.default_rng = default_rng
