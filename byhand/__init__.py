"""Deep Learning by Hand: the modules that the book's chapters derive and export.

`byhand.backprop` is exported from `book/backprop.ipynb`, and so on: to learn where a function comes from,
open the chapter of the same name.
"""

__version__ = "0.1.0"
