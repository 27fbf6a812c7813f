"""Companions of heads that no one wrote for them: the gradient is that of numerical differentiation."""

import pytest

from export.companion.maps import METHODS
from tests.export.companion.heads import HEADS, agreement, read_head


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", HEADS)
def test_the_gradient_of_any_head(name, method):
    layout, text = HEADS[name]
    found = agreement(read_head(layout, text), layout, method)
    assert found.gradient < 1e-5
    assert found.maps < 1e-5
