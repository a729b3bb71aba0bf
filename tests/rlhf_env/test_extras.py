"""A missing optional dependency is named together with its extra."""

from __future__ import annotations

import pickle
import sys
from types import ModuleType

import pytest

from rlhf_env.extras import MissingExtraError, importing, require


def test_a_missing_package_is_named_with_its_extra() -> None:
    expected = (
        "this needs the package not_there, which is not installed; "
        r"run: pip install 'rlhf-env\[lora\]'"
    )
    with pytest.raises(MissingExtraError, match=expected) as caught, importing("lora"):
        import not_there.inner  # type: ignore[import-not-found]  # noqa: F401
    assert caught.value.name == "not_there"
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_another_failure_of_an_installed_package_keeps_its_own_error() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'json\.nothing'"):  # noqa: SIM117
        with importing("rewards"):
            import json.nothing  # type: ignore[import-not-found]  # noqa: F401
    with pytest.raises(ZeroDivisionError), importing("rewards"):
        _ = 1 / 0


def test_require_names_the_first_that_is_missing() -> None:
    require("studies", "json", "numpy")
    with pytest.raises(MissingExtraError, match=r"the package not_there.*rlhf-env\[studies\]"):
        require("studies", "json", "not_there", "nor_this")


def test_a_package_that_is_blocked_counts_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)  # type: ignore[arg-type]
    with pytest.raises(MissingExtraError, match="peft"):
        require("lora", "peft")


def test_nothing_is_imported_by_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "this", raising=False)
    require("studies", "this")
    assert not isinstance(sys.modules.get("this"), ModuleType)


def test_the_error_travels_between_processes() -> None:
    with pytest.raises(MissingExtraError) as caught:
        require("ray", "not_there")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
