"""`python -m agents.play RUN_DIR`."""

import io
import os
import pty
import re
import sys
import termios
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from lm_gym.agents.evaluation.page import Facts, page
from lm_gym.agents.evaluation.played import Choice, PlayedPart, PlayedPosition, PlayedText, play_text
from lm_gym.agents.play import main, next_text
from lm_gym.agents.runs.keys import pressed_keys
from lm_gym.agents.runs.trained_run import open_run
from lm_gym.tasks import NER, Mark, MaskedLM, Part
from lm_gym.tasks.ner import entity_marks
from tests.runs import train, write_corpus

CATS = [f"the {kind} cat sat on the mat with <b> & {kind} friends" for kind in ("red", "old", "big", "wet", "sad")]


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = write_corpus(tmp_path_factory.mktemp("data") / "people")
    return train(data, tmp_path_factory.mktemp("runs") / "run", "--budget.passes=1")


@pytest.fixture(scope="module")
def filler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cats")
    (folder / "train.txt").write_text("\n".join(CATS))
    more = ("--env.id=lm_gym/MaskedLM-v0", "--env.mask_probability=0.3", "--budget.passes=1")
    return train(folder / "train.txt", folder / "run", *more)


class Terminal(io.StringIO):
    """The input of a terminal."""

    def isatty(self) -> bool:
        return True


def played_by(arguments: list[str], typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    main(arguments)


def shown_texts(output: str) -> list[int]:
    return [int(number) for number in re.findall(r"text (\d+) of", output)]


def test_without_a_terminal_the_first_texts_are_printed(
    tagger: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("3\n"))
    main([str(tagger), "--texts", "2"])
    output = capsys.readouterr().out
    assert shown_texts(output) == [1, 2]
    policy, env = open_run(tagger, ["--evaluation.num_envs=1"]).player("validation")
    played = play_text(policy, env, 1)
    lines = output.split("text 2 of")[1].splitlines()
    for part, position in played.parts:
        assert position is not None
        row = next(line.split() for line in lines if part.text in line.removeprefix("✗").split()[:1])
        words = [] if position.right else ["✗"]
        words += [part.text, position.gold, position.predicted, f"{position.reward:.2f}"]
        assert row[: len(words)] == words
        assert row[len(words)] == position.predicted  # the first of the first choices
    assert f"{played.num_right} of 4 right" in output.split("text 2 of")[1]


def test_without_standard_input_texts_are_printed(
    tagger: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    main([str(tagger), "--texts", "1"])
    assert shown_texts(capsys.readouterr().out) == [1]


def test_keys_lead_through_the_texts(
    tagger: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    played_by([str(tagger), "--texts", "4"], "\np\n3\n9\nx\n\n\n", monkeypatch)
    output = capsys.readouterr().out
    assert shown_texts(output) == [1, 2, 1, 3, 4]  # Enter at the last text ends
    assert "no text 9: give a number from 1 to 4" in output
    assert "unknown key 'x'" in output


def test_keys_of_a_terminal_need_no_enter(
    tagger: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    shown: list[int] = []
    typed = iter([b"\n", b"p", b"\x1b[C", b"\x1b[D", b"31\x7f\n", b"x", "é".encode(), b"\r", b"q"])

    def show(console: object, env: object, played: PlayedText) -> None:
        shown.append(played.index + 1)

    def echo(text: str) -> None:
        sys.stdout.write(text)
        if text.startswith("["):  # a prompt
            os.write(master, next(typed))

    with os.fdopen(slave, "r") as terminal, monkeypatch.context() as patched:
        patched.setattr("sys.stdin", terminal)
        patched.setattr("lm_gym.agents.play.show", show)
        patched.setattr("lm_gym.agents.runs.keys._echo", echo)
        main([str(tagger), "--texts", "4"])
        assert termios.tcgetattr(slave) == before
    os.close(master)
    assert shown == [1, 2, 1, 2, 1, 3, 4]
    output = capsys.readouterr().out
    assert "unknown key 'x'" in output
    assert "unknown key 'é'" in output
    assert "31\b \b\n" in output


@pytest.mark.parametrize("last", [b"\x04", None])
def test_control_d_and_a_closed_terminal_end(last: bytes | None) -> None:
    master, slave = pty.openpty()
    with os.fdopen(slave, "r") as terminal, pressed_keys(terminal) as ask:
        os.write(master, b"e")
        assert ask("") == "e"
        if last is None:
            os.close(master)
        else:
            os.write(master, last)
        with pytest.raises(EOFError):
            ask("")


def test_the_end_of_the_input_ends(
    filler: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    played_by([str(filler), "--split", "train"], "", monkeypatch)
    assert shown_texts(capsys.readouterr().out) == [1]


def test_e_leads_to_the_next_error(
    filler: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    policy, env = open_run(filler, ["--evaluation.num_envs=1"]).player("train")
    wrong = [text + 1 for text in range(env.num_texts) if not play_text(policy, env, text).flawless]
    played_by([str(filler), "--split", "train"], "e\n" * 9, monkeypatch)
    output = capsys.readouterr().out
    assert shown_texts(output) == [1, *(text for text in wrong if text > 1)]
    assert "has an error" in output


@pytest.mark.parametrize(
    ("key", "at", "leads_to"), [("", 0, 1), ("", 2, -1), ("p", 2, 1), ("3", 0, 2), ("q", 0, -1), ("quit", 1, -1)]
)
def test_next_text(key: str, at: int, leads_to: int) -> None:
    assert next_text(key, at, 3) == leads_to


@pytest.mark.parametrize(("key", "message"), [("p", "first"), ("0", "1 to 3"), ("4", "1 to 3"), ("²", "unknown key")])
def test_keys_that_lead_nowhere(key: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        next_text(key, 0, 3)


@pytest.mark.parametrize(("run", "split"), [("tagger", "test"), ("filler", "train")])
@pytest.mark.parametrize("which", ["best", "last"])
def test_what_is_played_is_the_policys_and_the_environments(
    run: str, split: str, which: str, request: pytest.FixtureRequest
) -> None:
    policy, env = open_run(request.getfixturevalue(run), ["--evaluation.num_envs=1"]).player(split, which)
    played = play_text(policy, env, 2)
    count = int(env.task.encoded.counts[2])
    chosen = env.targets.copy()
    obs, _ = env.reset(options={"indices": [2]})
    chosen = np.asarray(policy.predict(obs, deterministic=True)[0])
    assert [d.reward for d in played.positions] == env.position_rewards(chosen)[0, :count].tolist()
    assert [d.right for d in played.positions] == (chosen == env.targets)[0, :count].tolist()
    for position in played.positions:
        probabilities = [choice.probability for choice in position.top]
        assert probabilities == sorted(probabilities, reverse=True)
        assert 0 < sum(probabilities) <= 1 + 1e-5
        assert position.top[0].name == position.predicted
    if run == "filler":
        whole = "".join(" " * part.spaced + part.text for part, _ in played.parts)
        assert whole.split() == env.task.text(2).split() or whole.replace(" ", "") == env.task.text(2).replace(" ", "")


def test_words_beyond_max_length_are_not_decided(tagger: Path) -> None:
    overrides = ["--evaluation.num_envs=1", "--env.max_length=4"]
    with pytest.warns(UserWarning, match="cuts"):
        policy, env = open_run(tagger, overrides).player("test")
    played = play_text(policy, env, 0)
    assert len(played.parts) == 4
    assert [position is None for _, position in played.parts][-1]
    assert 'class="word cut"' in page(Facts("run", "algo", "people", "test", 1), [played])


class Elements(HTMLParser):
    """Parse the class attributes and the text of a page; an unclosed element is an error."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.classes: list[str] = []
        self.texts: list[str] = []
        self.links: list[str] = []
        self._open: list[str] = []
        self.feed(source)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.classes.append(found.get("class") or "")
        self.links += [value for name, value in attrs if name in ("src", "href") and value]
        if tag not in ("meta", "br", "input"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.mark.parametrize("run", ["tagger", "filler"])
def test_a_page_needs_nothing_else(
    run: str, request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "new" / "page.html"
    main([str(request.getfixturevalue(run)), "--split", "train", "--texts", "3", "--html", str(target)])
    assert f"3 texts: {target}" in capsys.readouterr().out
    source = target.read_text()
    found = Elements(source)
    assert found.links == []
    assert "url(" not in source
    assert len([name for name in found.classes if name in ("flawless", "flawed")]) == 3
    assert "word" in found.classes


def text_of(*decided: tuple[str, str, str], tagging: bool = True) -> PlayedText:
    words, gold, said = zip(*decided, strict=True)
    marks = [entity_marks(tags) if tagging else [Mark(tag) for tag in tags] for tags in (gold, said)]
    parts = tuple(
        PlayedPart(Part(w, slot=k), PlayedPosition(g, s, g == s, g == "O", *m, 1.0 * (g == s), (Choice(s, 0.9),)))
        for k, (w, g, s, *m) in enumerate(zip(words, gold, said, *marks, strict=True))
    )
    return PlayedText(0, parts, "", NER if tagging else MaskedLM)


FACTS = Facts("runs/<x>", "algo", "people", "test", 1)


def test_errors_of_tags_are_seen() -> None:
    words = [("Ada", "B-PER", "B-PER"), ("Day", "I-PER", "I-PER"), ("saw", "O", "B-LOC"), ("Oslo", "B-LOC", "O")]
    bars = re.findall(r'<i class="(bar[^"]*)">([^<]*)</i>', page(FACTS, [text_of(*words)]).split("<article")[1])
    assert bars == [
        *[("bar c1 start", "PER")] * 2,
        *[("bar c1 end", "")] * 2,
        ("bar", ""),
        ("bar error c0 start end", "✗ LOC"),
        ("bar c0 start end", "LOC"),
        ("bar missed start end", "✗ O"),
    ]


def test_an_entity_is_right_only_as_a_whole() -> None:
    """Entities count as in conlleval: one of three is right, although four of six tags are."""
    words = [("Ada", "B-PER", "B-PER"), ("Day", "I-PER", "O"), ("saw", "O", "O"), ("New", "B-LOC", "I-LOC")]
    words += [("Oslo", "I-LOC", "I-LOC"), ("Turin", "B-LOC", "I-LOC")]
    bars = re.findall(r'<i class="(bar[^"]*)">([^<]*)</i>', page(FACTS, [text_of(*words)]).split("<article")[1])
    assert bars == [
        *(("bar c1 start", "PER"), ("bar error c1 start end", "✗ PER")),
        *(("bar c1 end", ""), ("bar missed start end", "✗ O")),
        *(("bar c0 start", "LOC"), ("bar error c0 start", "✗ LOC")),
        *(("bar c0 end", ""), ("bar error c0 ", "")),
        *(("bar c0 start end", "LOC"), ("bar error c0 end", "")),
    ]
    words[-1] = ("Turin", "B-LOC", "B-LOC")  # an I-LOC that begins an entity counts as its B-LOC
    bars = re.findall(r'<i class="(bar[^"]*)">([^<]*)</i>', page(FACTS, [text_of(*words)]).split("<article")[1])
    assert bars[4:] == [
        *[("bar c0 start", "LOC")] * 2,
        *[("bar c0 end", "")] * 2,
        *[("bar c0 start end", "LOC")] * 2,
    ]


def test_filled_masks_show_what_was_masked_and_what_was_filled() -> None:
    source = page(FACTS, [text_of(("cat", "cat", "cat"), ("mat", "mat", "hat"), tagging=False)])
    article = source.split("<article")[1]
    assert re.findall(r"<b>([^<]*)</b>", article) == ["cat", "mat"]
    assert re.findall(r'class="bar (\w+)[^"]*">([^<]*)<', article) == [("right", "cat"), ("wrong", "✗ hat")]


@pytest.mark.parametrize("tagging", [True, False])
def test_what_texts_say_is_escaped(tagging: bool) -> None:
    evil = "<script>alert('\"&amp;')</script>"
    source = page(FACTS, [text_of((evil, "B-" + evil, "B-<i>"), tagging=tagging)])
    assert "<script" not in source
    assert "<x>" not in source
    assert evil in Elements(source).texts


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "tset"], "no split 'tset' in people (did you mean 'test'?)"),
        (["--texts", "0"], "--texts must be at least 1, got 0"),
        (["--agent.samples", "2"], "--agent.samples is fixed by the run"),
        (["--checkpoint", "lst"], "unknown value 'lst' (did you mean 'last'?): there are best, last"),
        (["--html", "."], ". is a folder: give a file"),
    ],
)
def test_wrong_use_is_refused(
    arguments: list[str], message: str, tagger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([str(tagger), "--html", str(tmp_path / "page.html"), *arguments])
    assert message in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize(("which", "message"), [("best", "no best model yet"), ("last", "no checkpoint yet")])
def test_a_run_that_is_not_so_far(
    which: str, message: str, tagger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text((tagger / "config.yaml").read_text())
    if which == "last":
        (tmp_path / "best").mkdir()
    with pytest.raises(SystemExit, match="2"):
        main([str(tmp_path), "--checkpoint", which])
    assert message in capsys.readouterr().err


def test_a_folder_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([str(tmp_path / "nowhere")])
    assert "does not exist" in capsys.readouterr().err
