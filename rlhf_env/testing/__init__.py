"""Conformance: is this task, reward, environment, wrapper, algorithm, agent or loss what it claims?

Every check is one claim with the public issue or paper that it comes from. ``check_...`` functions
raise an AssertionError that names the claims that do not hold and what was seen; `results` returns
them all; `checks` are for ``pytest.mark.parametrize``; ``rlhf-env check`` prints a table.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
