"""The page's HTML, whole or in the fragments that the live stream replaces."""

from datetime import date
from pathlib import Path
from typing import Final

import jinja2
from markupsafe import Markup

from services.cockpit.domain import chart, wording
from services.cockpit.domain.evidence import Evidence
from services.cockpit.domain.overview import Overview
from services.cockpit.usecases import Cockpit

TEMPLATES: Final = Path(__file__).parent / "templates"
FRAGMENTS: Final = (
    "sources",
    "actions",
    "tiles",
    "chart",
    "channels",
    "people",
    "differences",
    "ledger",
    "settlement",
    "payments",
)
CHART_WIDTHS_PX: Final = {"wide": 1180, "narrow": 340}
# Readers of one day share its rendering; more days than this are rarely watched at once.
DAYS_CACHED_MAX: Final = 16


class Renderer:
    """Renders with everything escaped; an undefined name in a template is an error."""

    def __init__(self, cockpit: Cockpit) -> None:
        """Draw what this cockpit says."""
        self._cockpit = cockpit
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(
            count=wording.count,
            percent=wording.percent,
            latency=wording.latency,
            clock=wording.clock,
            stamp=wording.stamp,
            tone=wording.tone,
        )
        self._templates.globals.update(
            amount=wording.amount,
            draw=_draw,
            chart_widths=CHART_WIDTHS_PX,
            state_words=lambda name: wording.words(wording.STATES, name),
            difference_words=lambda name: wording.words(wording.DIFFERENCES, name),
            method_words=lambda name: wording.words(wording.METHODS, name),
            role_words=lambda name: wording.words(wording.ROLES, name),
        )
        self._cache: dict[date | None, tuple[int, dict[str, str]]] = {}

    def home(self, day: date | None) -> str:
        """The whole page; None follows the latest day."""
        fragments = {name: Markup(html) for name, html in self.fragments(day).items()}  # noqa: S704 -- our own templates made it
        view = self._cockpit.overview(day)
        return self._render("home.html", view=view, fragments=fragments, follows=day is None)

    def fragments(self, day: date | None) -> dict[str, str]:
        """Each fragment's inner HTML by its id."""
        revision = self._cockpit.revision
        cached = self._cache.get(day)
        if cached is not None and cached[0] == revision:
            return cached[1]
        view = self._cockpit.overview(day)
        fragments = {name: self._fragment(name, view) for name in FRAGMENTS}
        if len(self._cache) >= DAYS_CACHED_MAX:
            self._cache.clear()
        self._cache[day] = (revision, fragments)
        return fragments

    def subject(self, evidence: Evidence) -> str:
        """The page of one payment, refund or payout."""
        return self._render("subject.html", evidence=evidence)

    def message(self, title: str, text: str) -> str:
        """A page that only says something."""
        return self._render("message.html", title=title, text=text)

    def _fragment(self, name: str, view: Overview) -> str:
        return self._render(f"fragments/{name}.html", view=view)

    def _render(self, name: str, **context: object) -> str:
        return self._templates.get_template(name).render(**context)


def _draw(view: Overview, width: int) -> Markup:
    # The chart escapes its own texts and is made of numbers otherwise.
    return Markup(chart.draw(view.hours, view.currency, width=width))  # noqa: S704 -- see above
