"""The demo in the browser: an image goes in, findings with their heat maps come out.

::

    from cxr_edge.demo import demo

    demo().launch()

is the whole ``app.py`` of a hosted Space. Needs the extra ``demo``.
"""

from cxr_edge.demo.server import Demo, demo

__all__ = ["Demo", "demo"]
