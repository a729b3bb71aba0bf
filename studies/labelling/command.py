"""The work of `scripts/label.py`: open the page, or write what was said."""

from __future__ import annotations

import sys
from pathlib import Path

from filelock import AcquireReturnProxy

from rlhf_env.text.rows import read_text
from studies.execution.failure import CommandFailed, failing
from studies.labelling.answers import Answering
from studies.labelling.export import write_export
from studies.labelling.folder import check_folder, holds_labels, lock_folder, open_store
from studies.labelling.items import check_file, read_items
from studies.labelling.progress import in_one_line
from studies.labelling.saved import SavedLabels
from studies.labelling.settings import Settings
from studies.labelling.web.pages import Texts
from studies.labelling.web.serve import listen, serve
from studies.results.run_folder import check_writable


def run(settings: Settings) -> None:
    """Open the page until it is interrupted, or export.

    Raises:
        ValueError: if something cannot be used.
        CommandFailed: if writing failed.
    """
    if settings.export:
        export(settings.out)
    elif settings.data is not None:
        open_page(settings, settings.data)


def export(folder: Path) -> None:
    """Write a folder's files, whether or not its page is open."""
    labels = SavedLabels.reading(folder)
    try:
        with failing(OSError):
            for path in write_export(labels, folder):
                print(path)
        print(in_one_line(labels))
    finally:
        labels.close()


def open_page(settings: Settings, data: Path) -> None:
    """Check all, then serve the page until Ctrl-C."""
    check_folder(settings.out)
    check_writable(settings.out)
    check_file(data, "--data")
    # Before anything is made; a folder with labels has them already.
    items = [] if holds_labels(settings.out) else read_items(data, settings.ask)
    texts = Texts(title=data.name, instructions=_instructions(settings.instructions))
    bounds = Answering(scale=settings.scale, error_types=settings.error_types)
    with listen(settings.host, settings.port) as listening, _locked(settings.out):
        store = open_store(settings, data, items)
        try:
            print(in_one_line(store))
            serve(store, bounds, texts, settings, listening)
        finally:
            print(in_one_line(store), file=sys.stderr)
            store.close()


def _locked(folder: Path) -> AcquireReturnProxy:
    try:
        return lock_folder(folder)
    except OSError as error:
        raise CommandFailed(f"cannot write {str(folder)!r}: {error.strerror}") from error


def _instructions(path: Path | None) -> str:
    if path is None:
        return ""
    check_file(path, "--instructions")
    return read_text(path, "--instructions").strip()
