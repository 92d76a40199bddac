import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "data.md"
BLOCKS = re.findall(r"^## ([^\n]+)|^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
HEADED = [
    (next((title for title, _ in reversed(BLOCKS[:i]) if title), "Data"), code)
    for i, (_, code) in enumerate(BLOCKS)
    if code
]


@pytest.mark.parametrize("code", [code for _, code in HEADED], ids=[title for title, _ in HEADED])
def test_examples_of_the_data_page_run(code, tmp_path, monkeypatch):
    if "datasets" in code:
        datasets = pytest.importorskip("datasets")
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
        datasets.disable_progress_bars()
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(PAGE), "exec"), {})


def test_the_page_has_an_example_under_every_format():
    assert {"CoNLL columns", "JSONL", "CSV and TSV", "Plain text", "A folder", "The hub"} <= {t for t, _ in HEADED}
