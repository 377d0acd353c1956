"""Live, emotional facial animation for ROS 2: speech in, 52 ARKit blendshape coefficients out.

Its rooms and the direction of their imports: docs/architecture.md.

This file stays light on purpose: the generated messages (`emotalk_ros.msg`) live in another folder
under the same package name, and importing them must not import torch.
"""

from pkgutil import extend_path

# The messages are generated into the install space, these modules may be run from the source tree:
# both are one package.
__path__ = extend_path(__path__, __name__)

__version__ = "0.1.0"
