"""The browser demo: upload an image, see its findings and heat maps.

::

    from cxr_edge.demo import demo

    demo().launch()

These lines are the whole ``app.py`` of a hosted Space. Needs the extra ``demo``.
"""

from cxr_edge.demo.server import Demo, demo

__all__ = ["Demo", "demo"]
