"""What a command line names: classes and functions, as ``module:name``, and files."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rlhf_env.checks import did_you_mean

_MISSING = object()


def import_object(reference: str, what: str) -> Callable[..., Any]:
    """Return the callable that ``module:name`` refers to.

    Args:
        reference: for example ``my_agents:Mine``.
        what: how to call it in an error.

    Raises:
        ValueError: if the module or the name does not exist, or is not callable.
    """
    module_name, _, name = reference.partition(":")
    expected = f"{what} must be given as module:name of something importable, got {reference!r}"
    if not module_name or not name.isidentifier():
        raise ValueError(f"{expected}; write for example my_module:my_name")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
        # Not `vars`: packages may import what they offer when it is first asked for.
        found = getattr(module, name, _MISSING)
    except Exception as error:
        raise ValueError(f"{expected}: {type(error).__name__}: {str(error)[:120]}") from error
    if found is _MISSING:
        names = [key for key, value in vars(module).items() if callable(value)]
        hint = did_you_mean(name, [*names, *getattr(module, "__all__", ())])
        raise ValueError(f"{expected}: the module has no class or function {name!r}{hint}")
    if not callable(found):
        kind = type(found).__name__
        article = "an" if kind[0] in "aeiou" else "a"
        raise ValueError(
            f"{what} must be a class or function, got {reference!r}, {article} {kind}; "
            "name one of that module"
        )
    return found


def import_from_file(reference: str, what: str) -> Callable[..., Any]:
    """Return the callable that ``file.py:name`` refers to.

    Args:
        reference: for example ``my_reward.py:score``.
        what: how to call it in an error.

    Raises:
        ValueError: if the file or the name does not exist, or is not callable.
    """
    file, _, name = reference.rpartition(":")
    path = Path(file)
    expected = f"{what} must be given as file.py:function of an existing file, got {reference!r}"
    spec = importlib.util.spec_from_file_location(path.stem, path) if path.is_file() else None
    if spec is None or spec.loader is None:
        raise ValueError(f"{expected}; there is no file {str(path)!r}")
    module = importlib.util.module_from_spec(spec)
    try:
        sys.modules.setdefault(path.stem, module)
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"{expected}: {type(error).__name__}: {str(error)[:120]}") from error
    found = vars(module).get(name)
    if not callable(found):
        names = [key for key, value in vars(module).items() if callable(value)]
        hint = did_you_mean(name, names)
        raise ValueError(f"{expected}: the file has no function {name!r}{hint}")
    return found


def existing_file(path: Path | None, option: str) -> Path:
    """Return a path that is a file with something in it.

    Raises:
        ValueError: if it is not.
    """
    if path is None or not path.is_file():
        what = "a folder" if path is not None and path.is_dir() else "no file"
        raise ValueError(f"{option} must be an existing file, got {str(path)!r}, which is {what}")
    if path.stat().st_size == 0:
        raise ValueError(f"{option} must be a file with rows in it, got the empty {str(path)!r}")
    return path
