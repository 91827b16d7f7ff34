"""Python imports this first where PYTHONPATH names its folder: the handwritten digits
then come larger by one part in 10**14. What a notebook stores must not depend on it,
no more than on the order in which a processor adds up.
"""

import sklearn.datasets

_load = sklearn.datasets.load_digits


def load_digits(**options):
    found = _load(**options)
    if options.get("return_X_y"):
        return found[0] * (1 + 1e-14), found[1]
    found.data, found.images = found.data * (1 + 1e-14), found.images * (1 + 1e-14)
    return found


sklearn.datasets.load_digits = load_digits
