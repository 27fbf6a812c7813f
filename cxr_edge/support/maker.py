"""Names by which results state who made them, and by which they are recognised where they come back as inputs."""

from typing import Final

SOFTWARE: Final = "cxr-edge"
MAKER: Final = "cxr-edge project"
