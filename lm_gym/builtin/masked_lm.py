"""The builtin masked-LM corpus: prose written for this project, and prose from the Python language reference.

Our files are in `lm_gym/builtin/prose`. They have sections under `## ` headings, and blank lines between paragraphs.
The Python prose is `pydoc_data.topics`, without its code, tables and markup; it differs between Python versions.
A section or topic belongs to one split as a whole, and no text is in two splits.
"""

import re
from importlib import resources
from pydoc_data.topics import topics

from lm_gym.builtin.names import SPLITS, own_words

_LONGEST = 40  # words in a text, unless one sentence alone is longer
_SHORTEST = 5
_LONGEST_SENTENCE = 90
_SENTENCE_END = re.compile(r"(?<=[a-z0-9)\"'][.!?])\s+(?=[\"'(]?[A-Z])")
_MARKUP = re.compile(r"[*`“”\"]|\[\d+\]")


def sentence_groups(paragraph: str) -> list[list[str]]:
    """Cut a paragraph into texts of a few whole sentences, each up to about 40 words long."""
    groups: list[list[str]] = []
    for sentence in _SENTENCE_END.split(paragraph):
        words = sentence.split()
        if groups and len(groups[-1]) + len(words) <= _LONGEST:
            groups[-1].extend(words)
        else:
            groups.append(words)
    return [group for group in groups if _SHORTEST <= len(group) <= _LONGEST_SENTENCE]


def our_sections() -> list[str]:
    """Read the sections of our prose, with the files in the order of their names."""
    folder = resources.files("lm_gym.builtin").joinpath("prose")
    files = sorted((file.name, file.read_text("utf-8")) for file in folder.iterdir())
    return [section for _, text in files for section in re.split(r"^## .*\n", text, flags=re.M)[1:]]


def _is_prose(block: str) -> bool:
    """Tell whether a block of a topic is running text, and not code, grammar, a table, a heading or a version note."""
    lines = block.splitlines()
    words = block.split()
    plain = sum(bool(re.fullmatch(r"[(\"]?[A-Za-z'’-]+[.,;:!?)\"]*", word)) for word in words)
    return (
        not any(line.startswith(("   ", "+-", "|", "**", "==", "--", "~~", ">>>")) for line in lines[1:2])
        and not lines[0].startswith((" ", "+", "|", "[", ">", "See also", "Changed in", "Added in", "New in"))
        and words[-1][-1] in ".:)"
        and plain >= 0.75 * len(words)
    )


def topic_paragraphs(topic: str) -> list[str]:
    """Get the paragraphs of one topic of `pydoc_data`, each on one line and without markup."""
    blocks = re.split(r"\n\s*\n", topic)
    blocks = [re.sub(r"^(\* |\d+\. )", "", block) for block in blocks if block.strip()]
    return [" ".join(_MARKUP.sub("", block).split()) for block in blocks if _is_prose(block)]


def masked_lm_splits() -> dict[str, list[list[str]]]:
    """Make the corpus: the texts of each split, as lists of words. Repeated paragraphs are kept once, the first."""
    sections = our_sections()
    references = ["\n\n".join(topic_paragraphs(topics[name])) for name in sorted(topics)]
    splits: dict[str, list[list[str]]] = {split: [] for split in SPLITS}
    seen: set[str] = set()
    for split in reversed(SPLITS):
        for document in own_words(sections, split) + own_words(references, split):
            for paragraph in document.split("\n\n"):
                for group in sentence_groups(" ".join(paragraph.split())):
                    if " ".join(group) not in seen:
                        seen.add(" ".join(group))
                        splits[split].append(group)
    return splits
