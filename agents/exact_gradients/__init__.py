"""The expected gradient of any agent's update, by enumeration, beside that of the objective."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
