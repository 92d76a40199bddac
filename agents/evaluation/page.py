"""Texts as one HTML page: coloured entities, gold above predicted, or filled masks. Needs nothing but itself.

Errors are hatched and crossed, not only coloured, and every bar is labelled; colours are Okabe and Ito's, which the
colour-blind tell apart, lightened until black letters are legible on them, on a light page and on a dark one.
"""

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from importlib.resources import files
from itertools import pairwise
from typing import NamedTuple

from lm_gym.agents.evaluation.played import Decision, Piece, PlayedText

_COLOURS = 8  # in page.css; more types of entities share them


class Facts(NamedTuple):
    """What the head of the page says.

    Attributes:
        run: the run folder.
        algo: what trained the model.
        dataset: what is played.
        split: of it.
        num_texts: in the split.
    """

    run: str
    algo: str
    dataset: str
    split: str
    num_texts: int


def page(facts: Facts, texts: Sequence[PlayedText]) -> str:
    """The page.

    Args:
        facts: its head.
        texts: one or more, all of one task.
    """
    tagging = texts[0].tagging
    types = sorted({_type(tag) for text in texts for d in text.decisions for tag in (d.gold, d.predicted)} - {""})
    colour_of = {name: f"c{number % _COLOURS}" for number, name in enumerate(types)} if tagging else {}
    counts = [len(text.decisions) for text in texts]
    right = sum(text.num_right for text in texts)
    what = "words" if tagging else "masked tokens"
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(facts.dataset)}, {escape(facts.split)}: {escape(facts.algo)}</title>",
            f"<style>\n{files('lm_gym.agents.evaluation').joinpath('page.css').read_text(encoding='utf-8')}</style></head><body>",
            f"<header><h1>{escape(facts.algo)} on {escape(facts.dataset)}, {escape(facts.split)}</h1>",
            f"<p><code>{escape(facts.run)}</code></p>",
            f"<p>{len(texts):,} of {facts.num_texts:,} texts; {right:,} of {sum(counts):,} {what} right; "
            f"{sum(text.flawless for text in texts):,} texts without an error; reward "
            f"{sum(text.reward for text in texts) / len(texts):.2f} a text.</p>",
            f'<p class="legend">{_legend(colour_of, tagging)}</p>',
            '<p><label><input type="checkbox" id="errors"> only texts with errors</label></p></header>',
            *(_article(text, colour_of) for text in texts),
            "</body></html>\n",
        ]
    )


def _legend(colour_of: dict[str, str], tagging: bool) -> str:
    if not tagging:
        return (
            'Above the masked token, below what was filled in: <i class="bar right start end">right</i> '
            '<i class="bar wrong start end">✗ wrong</i>. Point at one for the first choices.'
        )
    names = " ".join(f'<i class="bar {c} start end">{escape(name)}</i>' for name, c in colour_of.items())
    return (
        f"{names} Under each word gold, and below it what was predicted: "
        '<i class="bar error start end">✗ wrong</i>, <i class="bar missed start end">✗ missed</i>. '
        "Point at a word for the first choices."
    )


def _article(text: PlayedText, colour_of: dict[str, str]) -> str:
    body = "".join(_tagged(text.pieces, colour_of) if text.tagging else _filled(text.pieces))
    kind = "flawless" if text.flawless else "flawed"
    count = f"{text.num_right} of {len(text.decisions)} right<br>reward {text.reward:.2f}"
    return (
        f'<article class="{kind}" id="text-{text.index + 1}"><div class="number">{text.index + 1}</div>'
        f'<div class="{"tagged" if text.tagging else "filled"}">{body}</div><aside>{count}</aside></article>'
    )


def _tagged(pieces: Sequence[Piece], colour_of: dict[str, str]) -> Iterator[str]:
    gold = _bars([piece.decision.gold if piece.decision else "O" for piece in pieces])
    predicted = _bars([piece.decision.predicted if piece.decision else "O" for piece in pieces])
    for piece, (g, g_shape), (p, p_shape) in zip(pieces, gold, predicted, strict=True):
        if piece.decision is None:
            yield f'<span class="word cut" title="beyond max_length: not decided"><b>{escape(piece.text)}</b></span>'
            continue
        bars = ""
        if g:
            bars = f'<i class="bar {colour_of[g]} {g_shape}">{escape(g) if "start" in g_shape else ""}</i>'
        elif p:
            bars = '<i class="bar"></i>'
        if p and piece.decision.right:
            bars += f'<i class="bar {colour_of[p]} {p_shape}">{escape(p) if "start" in p_shape else ""}</i>'
        elif p:
            bars += f'<i class="bar error {colour_of[p]} {p_shape}">✗ {escape(p)}</i>'
        elif g:
            bars += '<i class="bar missed start end">✗ O</i>'
        yield (
            f'<span class="word" tabindex="0"><b>{escape(piece.text)}</b>{bars}'
            f"{_details(piece.text, piece.decision)}</span>"
        )


def _filled(pieces: Iterable[Piece]) -> Iterator[str]:
    for piece in pieces:
        yield " " * piece.spaced
        if piece.decision is None:
            yield escape(piece.text)
            continue
        kind, mark = ("right", "") if piece.decision.right else ("wrong", "✗ ")
        yield (
            f'<span class="word" tabindex="0"><b>{escape(piece.text)}</b>'
            f'<i class="bar {kind} start end">{mark}{escape(piece.decision.predicted)}</i>'
            f"{_details(piece.decision.gold, piece.decision)}</span>"
        )


def _bars(tags: Sequence[str]) -> list[tuple[str, str]]:
    """Entity type of each word ("" outside), and whether its bar starts or ends there; read as conlleval reads tags."""
    ends = ["O", *tags, "O"]
    joined = [after.startswith("I-") and _type(before) == _type(after) for before, after in pairwise(ends)]
    shapes = [
        " ".join(name for name, here in (("start", not joined[k]), ("end", not joined[k + 1])) if here)
        for k in range(len(tags))
    ]
    return [(_type(tag), shape) for tag, shape in zip(tags, shapes, strict=True)]


def _type(tag: str) -> str:
    return tag[2:] if tag[:2] in ("B-", "I-") else ""


def _details(word: str, decision: Decision) -> str:
    """What pointing at a position shows."""
    top = "".join(
        f'<span class="choice{" gold" if choice.name == decision.gold else ""}" style="--p:{choice.probability:.1%}">'
        f"<span>{escape(choice.name)}</span><span>{choice.probability:.3f}</span></span>"
        for choice in decision.top
    )
    return (
        f'<span class="details"><strong>{escape(word)}</strong>'
        f"<span>gold {escape(decision.gold)} · predicted {escape(decision.predicted)} · "
        f"reward {decision.reward:.2f}</span>{top}</span>"
    )
