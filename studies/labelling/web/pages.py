"""What each address answers.

All of it runs in one thread, one request after the other: a request waits while another's click is
written, and nothing has to be locked.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from rlhf_env.extras import importing
from studies.labelling.answers import Answering, in_words, read_answer
from studies.labelling.assignment import sides
from studies.labelling.export import exported, zipped
from studies.labelling.items import Item
from studies.labelling.progress import Progress, progress_of
from studies.labelling.store import LabelStore
from studies.labelling.web.rendering import environment
from studies.labelling.web.sessions import Session, Sessions, checked_name

with importing("label"):
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import HTMLResponse, RedirectResponse, Response

FORM = "application/x-www-form-urlencoded"
MAX_FIELDS = 50
FORM_BYTES = 16


@dataclass(frozen=True, kw_only=True)
class Texts:
    """What the one who asks wants annotators to read."""

    title: str
    """Of the pages."""
    instructions: str
    """Empty for none."""


class Pages:
    """The pages of one folder."""

    def __init__(self, store: LabelStore, bounds: Answering, texts: Texts) -> None:
        """Use a folder whose page is open.

        Args:
            store: of the folder.
            bounds: of answers.
            texts: to show.
        """
        self.store, self.bounds = store, bounds
        self.sessions = Sessions(store)
        self._templates = environment()
        self._templates.globals.update(title=texts.title, instructions=texts.instructions)
        self._progress: tuple[tuple[int, int], Progress] | None = None

    async def start(self, request: Request) -> Response:
        """Ask for a name: ``/?token=...`` at first, ``/`` once there is a cookie."""
        session = self._session(request)
        if session is None:
            if not self.sessions.is_token(request.query_params.get("token", "")):
                raise HTTPException(403)
            session = self.sessions.begin()
        # No redirect: browsers that followed a link from elsewhere would not send the cookie.
        page = self._start_page(session)
        page.set_cookie(
            self.sessions.cookie_name, session.cookie, httponly=True, samesite="strict", path="/"
        )
        return page

    async def begin(self, request: Request) -> Response:
        """Take the name, and show the first item."""
        session = self._known(request)
        fields = await self._fields(request, session)
        try:
            name = checked_name(fields.get("name", ""))
        except ValueError as error:
            return self._start_page(session, problem=str(error), status=400)
        self.store.join(name)
        self.sessions.name(session, name)
        return _go("/next")

    async def following(self, request: Request) -> Response:
        """Lead to the next item."""
        _, annotator = self._named(request)
        number = self.store.ask_next(annotator)
        return _go("/rest" if number is None else f"/item/{number}")

    async def item(self, request: Request) -> Response:
        """Show an item, with what was said of it if anything was."""
        session, annotator = self._named(request)
        item = self._item(request)
        shown = self.store.show(item.number, annotator)
        judgement = self.store.judgement(item.number, annotator)
        before = None if judgement is None else judgement.id
        return self._page(
            "item.html",
            session,
            item=item,
            shown=shown,
            places=[(place, side, item.responses[side]) for place, side in enumerate(shown)],
            judgement=judgement,
            last=self.store.last_judged(annotator, before),
            bounds=self.bounds,
            form=secrets.token_urlsafe(FORM_BYTES),
            latest=self.store.latest(item.number, annotator),
            then=self._number(request.query_params.get("then")),
        )

    async def judge(self, request: Request) -> Response:
        """Keep a click, and lead on."""
        session, annotator = self._named(request)
        item = self._item(request)
        fields = await self._fields(request, session)
        form, latest = fields.get("form", ""), self._number(fields.get("latest"))
        if not form or len(form) > 100 or latest is None:
            raise HTTPException(400, "The form was not whole; load the page again.")
        try:
            answer = read_answer(item, fields, self.bounds)
        except ValueError as error:
            raise HTTPException(400, f"The answer was not kept: {error}.") from error
        outcome = self.store.record(item.number, annotator, answer, form=form, latest=latest)
        if outcome == "changed elsewhere":
            return self._elsewhere(session, item, annotator)
        then = self._number(fields.get("then"))
        return _go("/next" if then is None else f"/item/{then}")

    async def undo(self, request: Request) -> Response:
        """Lead back to what was judged last."""
        _, annotator = self._named(request)
        here = self._number(request.query_params.get("from"))
        said = None if here is None else self.store.judgement(here, annotator)
        last = self.store.last_judged(annotator, None if said is None else said.id)
        if last is None:
            return _go("/next")
        back = "" if here is None or here == last.item else f"?then={here}"
        return _go(f"/item/{last.item}{back}")

    async def rest(self, request: Request) -> Response:
        """Say that nothing is left for the annotator, or nothing at the moment."""
        session, annotator = self._named(request)
        return self._page("rest.html", session, last=self.store.last_judged(annotator))

    async def overview(self, request: Request) -> Response:
        """Show how far all annotators are and how well they agree."""
        return self._page("overview.html", self._known(request))

    async def export(self, request: Request) -> Response:
        """Return all that was said as an archive."""
        self._known(request)
        archive = zipped(exported(self.store))
        disposition = 'attachment; filename="labels.zip"'
        return Response(
            archive, media_type="application/zip", headers={"content-disposition": disposition}
        )

    async def failed(self, request: Request, error: Exception) -> Response:
        """Say what went wrong, without a word about the inside."""
        status = error.status_code if isinstance(error, HTTPException) else 500
        detail = error.detail if isinstance(error, HTTPException) else ""
        headers = error.headers if isinstance(error, HTTPException) else None
        page = self._templates.get_template("failed.html")
        return HTMLResponse(page.render(status=status, detail=detail), status, headers)

    def _start_page(self, session: Session, problem: str = "", status: int = 200) -> Response:
        names = self.store.annotators()
        return self._page("start.html", session, status=status, names=names, problem=problem)

    def _elsewhere(self, session: Session, item: Item, annotator: str) -> Response:
        judgement = self.store.judgement(item.number, annotator)
        shown = sides(len(item.responses), self.store.seed, annotator, item.number)
        said = "" if judgement is None else in_words(judgement.answer, shown)
        return self._page("elsewhere.html", session, status=409, item=item, said=said)

    def _page(self, name: str, session: Session, status: int = 200, **more: Any) -> Response:
        page = self._templates.get_template(name)
        progress = self._measured()
        return HTMLResponse(page.render(session=session, progress=progress, **more), status)

    def _measured(self) -> Progress:
        """Return how far all are; computed again after a click or a new name."""
        at = (self.store.last_click(), len(self.store.annotators()))
        if self._progress is None or self._progress[0] != at:
            self._progress = (at, progress_of(self.store))
        return self._progress[1]

    def _session(self, request: Request) -> Session | None:
        return self.sessions.find(request.cookies.get(self.sessions.cookie_name))

    def _known(self, request: Request) -> Session:
        session = self._session(request)
        if session is None:
            raise HTTPException(403)
        return session

    def _named(self, request: Request) -> tuple[Session, str]:
        session = self._known(request)
        if session.annotator is None:
            raise HTTPException(303, headers={"location": "/"})
        return session, session.annotator

    async def _fields(self, request: Request, session: Session) -> dict[str, str]:
        """Return the fields of a form of ours."""
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
            raise HTTPException(415, "Forms are sent as they are here.")
        body = await request.body()
        try:
            fields = dict(
                parse_qsl(
                    body.decode("ascii"),
                    keep_blank_values=True,
                    errors="strict",
                    max_num_fields=MAX_FIELDS,
                )
            )
        except ValueError as error:
            raise HTTPException(400, "The form could not be read.") from error
        if not secrets.compare_digest(fields.get("csrf", "").encode(), session.csrf.encode()):
            raise HTTPException(403, "This form is not from this page; load it again.")
        return fields

    def _item(self, request: Request) -> Item:
        number = self._number(str(request.path_params["number"]))
        item = None if number is None else self.store.item(number)
        if item is None:
            raise HTTPException(404)
        return item

    def _number(self, said: str | None) -> int | None:
        is_number = said is not None and said.isascii() and said.isdigit() and len(said) < 10
        return int(said) if said is not None and is_number else None


def _go(address: str) -> Response:
    return RedirectResponse(address, 303)
