"""The application: which address leads to which page."""

from __future__ import annotations

from collections.abc import Sequence

from rlhf_env.extras import importing
from studies.labelling.answers import Answering
from studies.labelling.store import LabelStore
from studies.labelling.web.pages import Pages, Texts
from studies.labelling.web.protection import MAX_BODY, protections
from studies.labelling.web.rendering import STATIC

with importing("label"):
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles


def application(
    store: LabelStore,
    bounds: Answering,
    texts: Texts,
    *,
    host: str = "127.0.0.1",
    more_hosts: Sequence[str] = (),
) -> Starlette:
    """Return the web application of a folder.

    Args:
        store: of the folder.
        bounds: of answers.
        texts: to show.
        host: the address that it will listen at.
        more_hosts: other names under which browsers reach it.
    """
    pages = Pages(store, bounds, texts)
    return Starlette(
        routes=[
            Route("/", pages.start),
            Route("/start", pages.begin, methods=["POST"]),
            Route("/next", pages.following),
            Route("/item/{number:int}", pages.item, methods=["GET"]),
            Route("/item/{number:int}", pages.judge, methods=["POST"]),
            Route("/undo", pages.undo),
            Route("/rest", pages.rest),
            Route("/overview", pages.overview),
            Route("/labels.zip", pages.export),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        middleware=protections(host, more_hosts),
        exception_handlers={HTTPException: pages.failed, Exception: pages.failed},
        max_body_size=MAX_BODY,
    )
