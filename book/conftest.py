"""Figures are SVG, whose last digits differ between machines: nbval leaves them out.
What a figure shows, its cell asserts or prints. And what a notebook took is noted.
"""

import pytest
import usage


def pytest_collectstart(collector):
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += ("image/svg+xml",)


@pytest.hookimpl(tryfirst=True)  # the kernel is stopped right after its last cell
def pytest_runtest_teardown(item, nextitem):
    kernel = getattr(item.parent, "kernel", None)
    if kernel is not None and kernel.is_alive() and usage.is_last(item, nextitem):
        usage.note(item.path, "stored", usage.so_far(kernel.km.provisioner.pid))
