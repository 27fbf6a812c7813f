"""Memory of networks that are gone, given back between modules: two workers of the tests share a machine."""

import ctypes
import gc
from collections.abc import Iterator

import keras
import pytest


@pytest.fixture(scope="module", autouse=True)
def memory_given_back() -> Iterator[None]:
    """After the tests of a module, let Keras forget its networks, and return freed memory to the system."""
    yield
    keras.backend.clear_session()
    gc.collect()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
