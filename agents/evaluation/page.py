"""Texts as one self-contained HTML page: coloured labels with gold above predicted, or choices in their places.

Errors are hatched and marked with a cross as well as coloured, and every bar is labelled. The colours are Okabe and
Ito's, which colour-blind readers can distinguish, lightened so that black letters are legible on light and dark pages.
"""

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import NamedTuple

from lm_gym.agents.evaluation.played import PlayedPart, PlayedPosition, PlayedText
from lm_gym.agents.evaluation.theme import VIEWPORT, style
from lm_gym.tasks import Mark

_SLIDERS = """<script>
for (const slider of document.querySelectorAll(".steps input")) {
  slider.addEventListener("input", () => {
    slider.nextElementSibling.textContent = slider.value;
    for (const word of slider.closest("article").querySelectorAll("[data-step]"))
      word.classList.toggle("later", Number(word.dataset.step) > Number(slider.value));
  });
}
</script>"""  # the words of a text as they were after a step

_COLOURS = 8  # number of colours in page.css; further labels reuse them


class Facts(NamedTuple):
    """Facts for the head of the page.

    Attributes:
        run: the run folder.
        algo: the algorithm that trained the model.
        dataset: name of the dataset.
        split: name of the split.
        num_texts: number of texts in the split.
    """

    run: str
    algo: str
    dataset: str
    split: str
    num_texts: int


def page(facts: Facts, texts: Sequence[PlayedText]) -> str:
    """Return the page as HTML.

    Args:
        facts: the head of the page.
        texts: one or more texts of the same task.
    """
    task = texts[0].task
    marks = {mark.label for text in texts for p in text.positions for mark in (p.gold_mark, p.predicted_mark)}
    labels = [] if task.choice_is_text else sorted(marks - {""})
    colour_of = {name: f"c{number % _COLOURS}" for number, name in enumerate(labels)}
    counts = [len(text.positions) for text in texts]
    right = sum(text.num_right for text in texts)
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            VIEWPORT,
            f"<title>{escape(facts.dataset)}, {escape(facts.split)}: {escape(facts.algo)}</title>",
            f"<style>\n{style('lm_gym.agents.evaluation', 'page.css')}</style></head><body>",
            f"<header><h1>{escape(facts.algo)} on {escape(facts.dataset)}, {escape(facts.split)}</h1>",
            f"<p><code>{escape(facts.run)}</code></p>",
            f"<p>{len(texts):,} of {facts.num_texts:,} texts; "
            f"{right:,} of {sum(counts):,} {task.nouns.positions} right; "
            f"{sum(text.flawless for text in texts):,} texts without errors; mean reward per text "
            f"{sum(text.reward for text in texts) / len(texts):.2f}.</p>",
            f'<p class="legend">{_legend(colour_of, texts[0])}</p>',
            '<p><label><input type="checkbox" id="errors"> only texts with errors</label></p></header>',
            *(_article(text, colour_of) for text in texts),
            *([_SLIDERS] if any(text.states for text in texts) else []),
            "</body></html>\n",
        ]
    )


def _legend(colour_of: dict[str, str], text: PlayedText) -> str:
    position = text.task.nouns.position
    if text.task.choice_is_text:
        return (
            f'The {position} is above, the prediction below: <i class="bar right start end">right</i> '
            '<i class="bar wrong start end">✗ wrong</i>. Point at one to see the most probable choices.'
            + " Move a slider to see the text after each step."
            * bool(text.states)
        )
    names = " ".join(f'<i class="bar {c} start end">{escape(name)}</i>' for name, c in colour_of.items())
    return (
        f"{names} Below each {position} is its gold label, and below that the prediction, which is right if its label "
        "and both of its ends are: "
        '<i class="bar error start end">✗ wrong</i>, <i class="bar missed start end">✗ missed</i>. '
        f"Point at a {position} to see the most probable choices."
    )


def _article(text: PlayedText, colour_of: dict[str, str]) -> str:
    filled = text.task.choice_is_text
    body = "".join(_filled(text.parts) if filled else _labelled(text.parts, colour_of))
    kind = "flawless" if text.flawless else "flawed"
    count = f"{text.num_right} of {len(text.positions)} right<br>reward {text.reward:.2f}{_slider(text)}"
    return (
        f'<article class="{kind}" id="text-{text.index + 1}"><div class="number">{text.index + 1}</div>'
        f'<div class="{"filled" if filled else "tagged"}">{body}</div><aside>{count}</aside></article>'
    )


def _slider(text: PlayedText) -> str:
    """Return a slider over the steps of a text that takes several."""
    last = len(text.states)
    if not last:
        return ""
    return (
        f'<label class="steps">after step <input type="range" min="0" max="{last}" value="{last}">'
        f"<output>{last}</output> of {last}</label>"
    )


def _labelled(parts: Sequence[PlayedPart], colour_of: dict[str, str]) -> Iterator[str]:
    none = Mark("")
    gold = _bars([position.gold_mark if position else none for _, position in parts])
    predicted = _bars([position.predicted_mark if position else none for _, position in parts])
    for (part, position), g, p in zip(parts, gold, predicted, strict=True):
        if position is None:
            cut = f' cut" title="{escape(part.note)}' if part.note else ""
            yield f'<span class="word{cut}"><b>{escape(part.text)}</b></span>'
            continue
        bars = ""
        if g.label:
            bars = f'<i class="bar {colour_of[g.label]} {g.shape}">{escape(g.label) if g.starts else ""}</i>'
        elif p.label:
            bars = '<i class="bar"></i>'
        if p.label and p == g:
            bars += f'<i class="bar {colour_of[p.label]} {p.shape}">{escape(p.label) if p.starts else ""}</i>'
        elif p.label:
            said = f"✗ {escape(p.label)}" if p.starts else ""
            bars += f'<i class="bar error {colour_of[p.label]} {p.shape}">{said}</i>'
        elif g.label:
            bars += f'<i class="bar missed start end">✗ {escape(position.predicted)}</i>'
        yield (
            f'<span class="word" tabindex="0"><b>{escape(part.text)}</b>{bars}{_details(part.text, position)}</span>'
        )


def _filled(parts: Iterable[PlayedPart]) -> Iterator[str]:
    for part, position in parts:
        yield " " * part.spaced
        if position is None:
            yield escape(part.text)
            continue
        kind, mark = ("right", "") if position.right else ("wrong", "✗ ")
        yield (
            f'<span class="word" tabindex="0"{_step(position)}><b>{escape(part.text)}</b>'
            f'<i class="bar {kind} start end">{mark}{escape(position.predicted)}</i>'
            f"{_details(position.gold, position)}</span>"
        )


def _step(position: PlayedPosition) -> str:
    """Return the attribute that tells when a position was decided."""
    return f' data-step="{position.step}"' if position.step else ""


class _Bar(NamedTuple):
    """The bar at a part: its label ("" for none), the parts where it starts and ends, and the part itself."""

    label: str
    start: int
    end: int
    at: int

    @property
    def starts(self) -> bool:
        """Whether the bar starts here."""
        return self.at == self.start

    @property
    def shape(self) -> str:
        """CSS classes of the ends that are here."""
        return " ".join(name for name in ("start", "end") if self.at == getattr(self, name))


def _bars(marks: Sequence[Mark]) -> list[_Bar]:
    """Return the bar at each part. Two bars are equal if they have the same label, start and end."""
    starts = [0] * len(marks)
    for k, mark in enumerate(marks):
        starts[k] = starts[k - 1] if k and mark.joined else k
    ends = {start: k for k, start in enumerate(starts)}
    return [_Bar(mark.label, start, ends[start], k) for k, (mark, start) in enumerate(zip(marks, starts, strict=True))]


def _details(word: str, position: PlayedPosition) -> str:
    """Return the details shown when the reader points at a position."""
    top = "".join(
        f'<span class="choice{" gold" if choice.name == position.gold else ""}" style="--p:{choice.probability:.1%}">'
        f"<span>{escape(choice.name)}</span><span>{choice.probability:.3f}</span></span>"
        for choice in position.top
    )
    return (
        f'<span class="details"><strong>{escape(word)}</strong>'
        f"<span>gold {escape(position.gold)} · predicted {escape(position.predicted)} · "
        f"reward {position.reward:.2f}</span>{top}</span>"
    )
