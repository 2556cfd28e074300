"""The report of a run as one page."""

from __future__ import annotations

from heimdall.pages import elements, page
from heimdall.pages.elements import Link, Markup
from heimdall.pages.page import Page
from heimdall.report import evaluation, making, questions, sessions
from heimdall.report.run import Run

_HASH = 12  # digits of a commit


def text(run: Run) -> str:
    """The page as HTML, whose bytes depend on the run alone.

    Args:
        run: What is known of it.

    Raises:
        HeimdallError: What draws charts and maps is not installed.
    """
    commit = run.revision.commit
    name = f"commit {commit.hash[:_HASH]}"
    parts = _parts(run)
    contents = elements.bullets(Link(title, identifier) for identifier, (title, _) in parts.items())
    return page.text(
        Page(
            title=f"Report of {f'the working tree after {name}' if run.revision.changed else name}",
            data=run.figures["data"],
            lead=[*questions.basis(run), f"The commit is of {commit.date}: {commit.subject}."],
            sections=[
                *_answers(run),
                elements.section("Contents", contents),
                *(
                    elements.section(title, *content, identifier=identifier)
                    for identifier, (title, content) in parts.items()
                ),
            ],
        )
    )


def _answers(run: Run) -> list[Markup]:
    """The three questions, each a section with its answer in bold and the figures behind it."""
    return [
        elements.section(
            one.question, elements.lead([one.short]), elements.paragraphs(one.why), identifier=identifier
        )
        for identifier, one in zip(("good", "fails", "trust"), questions.answers(run), strict=True)
    ]


def _parts(run: Run) -> dict[str, tuple[str, tuple[Markup, ...]]]:
    """The other sections, each with its title and content, by identifier."""
    parts = {
        "figures": ("Figures", (evaluation.headline(run), evaluation.drawn(run))),
        "sessions": ("Test sessions", sessions.parts(run)),
        "slices": ("Slices", evaluation.slices(run)),
        "methods": ("Other methods on the same sessions", evaluation.methods(run)),
        "training": ("Training", evaluation.training(run)),
        "data": ("Data", making.data(run)),
        "lineage": ("Lineage", making.lineage(run)),
        "environment": ("Environment", making.environment(run)),
        "again": ("How to make it again", making.again(run)),
    }
    return parts | ({"missing": ("What is missing here", making.missing(run))} if run.absent else {})
