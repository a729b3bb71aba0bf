"""The claims by name: those of `studies.zoo.claims`, and files of one's own."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from dataclasses import dataclass
from pathlib import Path

from rlhf_env.checks import did_you_mean
from studies.zoo import claims
from studies.zoo.claim import Claim, check_claim


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A claim and where it is from; picklable without the claim."""

    name: str
    """Of its files and in commands: that of its module with hyphens."""
    theme: str
    """The folder of its module."""
    source: str
    """Its module, or the path of a file."""

    def load(self) -> Claim:
        """Import and check the claim.

        Raises:
            ValueError: if the file has none, or one that could not be reported.
        """
        module = _from_file(self.source) if self.is_file else importlib.import_module(self.source)
        claim = getattr(module, "CLAIM", None)
        if not isinstance(claim, Claim):
            raise ValueError(f"{self.source} must have a CLAIM of studies.zoo.claim, got {claim!r}")
        try:
            check_claim(claim)
        except ValueError as error:
            raise ValueError(f"{self.source}: {error}") from error
        return claim

    @property
    def is_file(self) -> bool:
        """Whether it is a file of one's own."""
        return self.source.endswith(".py")


def entries() -> list[Entry]:
    """Return all claims of the package, by theme and name."""
    found = pkgutil.walk_packages(claims.__path__, f"{claims.__name__}.")
    modules = [module.name for module in found if not module.ispkg]
    return sorted((_entry(module) for module in modules), key=lambda one: (one.theme, one.name))


def find(name: str) -> Entry:
    """Return a claim by its name, or by the path of a file that ends in ".py".

    Raises:
        ValueError: if there is none.
    """
    if name.endswith(".py"):
        path = Path(name)
        if not path.is_file():
            raise ValueError(f"name must be a claim or the path of its file, got {name!r}, no file")
        return Entry(name=path.stem.replace("_", "-"), theme="own", source=str(path))
    known = {entry.name: entry for entry in entries()}
    if name not in known:
        raise ValueError(
            f"name must be a claim of `zoo list` or the path of a file, got {name!r}"
            f"{did_you_mean(name, list(known))}"
        )
    return known[name]


def _entry(module: str) -> Entry:
    theme, _, name = module.removeprefix(f"{claims.__name__}.").rpartition(".")
    name, theme = name.replace("_", "-"), theme.replace("_", " ")
    return Entry(name=name, theme=theme, source=module)


def _from_file(path: str) -> object:
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"name must be the path of a Python file, got {path!r}")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    return module
