"""Optional dependencies: one sentence that names the extra which a missing package belongs to."""

from __future__ import annotations

import importlib.util
from types import TracebackType
from typing import Literal

Extra = Literal[
    "studies",
    "rewards",
    "lora",
    "ray",
    "label",
    "distributed",
    "serving",
    "openenv",
    "reasoning",
    "minari",
    "wandb",
    "trackio",
    "mlflow",
]


class MissingExtraError(ImportError, ValueError):
    """A feature needs a package that the core installation does not bring.

    Also a ValueError, which is what settings that cannot be used raise everywhere else: asking for
    the feature was the setting.
    """


class importing:
    """Turn the failure of the imports inside into `MissingExtraError`.

        with importing("rewards"):
            from sklearn.linear_model import Ridge

    A package that is there but cannot be imported keeps its own error.
    """

    def __init__(self, extra: Extra) -> None:
        """Say which extra the imported packages belong to."""
        self.extra: Extra = extra

    def __enter__(self) -> None:
        """Watch the imports."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Name the extra where a package was not found."""
        if isinstance(error, ModuleNotFoundError) and error.name and not _is_found(error.name):
            raise _missing(self.extra, error.name) from error


def require(extra: Extra, *packages: str) -> None:
    """Check that packages are installed, without importing them.

    Args:
        extra: what they belong to.
        packages: names of top-level modules.

    Raises:
        MissingExtraError: naming the first that is not there.
    """
    for package in packages:
        if not _is_found(package):
            raise _missing(extra, package)


def _is_found(module: str) -> bool:
    return importlib.util.find_spec(module.partition(".")[0]) is not None


def _missing(extra: Extra, module: str) -> MissingExtraError:
    package = module.partition(".")[0]
    return MissingExtraError(
        f"this needs the package {package}, which is not installed; "
        f"run: pip install 'rlhf-env[{extra}]'",
        name=package,
    )
