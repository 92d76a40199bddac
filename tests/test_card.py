"""The model card of a run, its upload to the hub, saved models without their runs, and the last lines of a run."""

import json
import shlex
import shutil

import pytest
import yaml
from huggingface_hub import HfApi, ModelCard

from lm_gym.agents import predict, push_to_hub
from lm_gym.agents.__main__ import COMMANDS
from lm_gym.agents.evaluate import main as evaluate_main
from lm_gym.agents.files import find_damage
from lm_gym.agents.predict import main as predict_main
from lm_gym.agents.runs.run_folder import RunFolderError
from tests.runs import train, write_corpus


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    data = write_corpus(tmp_path_factory.mktemp("data") / "people")
    return train(data, tmp_path_factory.mktemp("runs") / "a run", "--budget.passes=1")


def test_card_has_what_the_hub_reads(run_dir):
    card = ModelCard.load(run_dir / "best" / "README.md")
    report = json.loads((run_dir / "report.json").read_text())
    assert card.data.pipeline_tag == "token-classification"
    assert {"lm-gym", "ner", "reinforce"} <= set(card.data.tags)
    results = {result.metric_type: result for result in card.data.eval_results}
    assert results["entity_f1"].metric_value == round(report["metrics"]["test"]["entity_f1"], 4)
    assert results["entity_f1"].dataset_revision == report["fingerprint"]
    header = yaml.safe_load((run_dir / "best" / "README.md").read_text().split("---")[1])
    assert header["library_name"] == "transformers"


def test_card_shows_baselines_and_how_to_load_it(run_dir):
    text = (run_dir / "best" / "README.md").read_text()
    for row in ("this run", "random", "majority tag", "untrained policy"):
        assert f"| {row} |" in text
    assert "lm-gym train --algo reinforce --env.id lm_gym/NER-v0 --policy.model FOLDER" in text
    assert str(run_dir) not in text
    code = text.partition("```python\n")[2].partition("```")[0]
    exec(compile(code.replace("FOLDER", str(run_dir / "best")), "card", "exec"), {})


def test_best_stays_whole_with_its_card(run_dir):
    assert find_damage(run_dir / "best") is None
    assert "README.md" in json.loads((run_dir / "best" / "checksums.json").read_text())


@pytest.mark.parametrize(
    ("options", "pipeline"),
    [
        (("--env.id=lm_gym/MaskedLM-v0",), "fill-mask"),
        (("--env.id=lm_gym/TextClassification-v0",), "text-classification"),
        (
            (
                "--env.id=lm_gym/TextClassification-v0",
                "--env.template={text} It was {mask}.",
                "--env.label_words={up: good, down: bad}",
            ),
            "text-classification",
        ),
    ],
)
def test_cards_of_other_heads(options, pipeline, tmp_path):
    rows = [{"text": f"{a} {b} {c} today", "label": c} for a in "xyz" for b in "uvw" for c in ("up", "down")]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = train(tmp_path / "t.jsonl", tmp_path / "run", "--budget.passes=0.2", *options)
    text = (run / "best" / "README.md").read_text()
    assert yaml.safe_load(text.split("---")[1])["pipeline_tag"] == pipeline
    code = text.partition("```python\n")[2].partition("```")[0]
    code = code.replace("FOLDER", str(run / "best")).replace('folder = "."', f"folder = {str(run / 'best')!r}")
    exec(compile(code.replace("…", "a mouse" if pipeline != "fill-mask" else "a [MASK]"), "card", "exec"), {})


def copied(run_dir, tmp_path):
    """Copy the best model to a place without its run."""
    return shutil.copytree(run_dir / "best", tmp_path / "copy", ignore=shutil.ignore_patterns("checksums.json"))


def test_a_saved_model_predicts_as_its_run_does(run_dir, tmp_path, monkeypatch):
    texts = ["Ada saw Oslo .", "(Bo met Cy.)"]
    expected = predict(run_dir, texts)
    assert predict(run_dir / "best", texts) == expected
    model = copied(run_dir, tmp_path)
    assert predict(model, texts) == expected
    monkeypatch.setattr("lm_gym.agents.runs.saved_model.snapshot_download", {"ann/tagger": str(model)}.get)
    assert predict("hub:ann/tagger", texts) == expected


def test_a_saved_model_is_evaluated_on_given_data(run_dir, tmp_path, monkeypatch, capsys):
    data = write_corpus(tmp_path / "people")
    evaluate_main([str(run_dir), "--env.dataset", str(data)])
    monkeypatch.chdir(tmp_path)
    evaluate_main([str(copied(run_dir, tmp_path)), "--env.dataset", str(data)])
    name = "evaluation-people-test.json"
    assert (tmp_path / name).read_text() == (run_dir / name).read_text()


def test_a_saved_model_names_no_path_of_this_machine(run_dir):
    written = yaml.safe_load((run_dir / "best" / "lm_gym.yaml").read_text())
    assert written["env"]["id"] == "lm_gym/NER-v0"
    assert not {"dataset", "tokenizer"} & set(written["env"])
    assert "/" not in (run_dir / "best" / "lm_gym.yaml").read_text().replace("lm_gym/NER-v0", "")
    assert json.loads((run_dir / "best" / "lm_gym.json").read_text()) == {"fields": []}


def refused(command, *arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        command([str(argument) for argument in arguments])
    return capsys.readouterr().err


def test_saved_models_that_lack_something_are_refused(run_dir, tmp_path, capsys):
    model = copied(run_dir, tmp_path)
    assert "copy is a model without the data of its run: give --env.dataset" in refused(
        evaluate_main, model, capsys=capsys
    )
    (model / "lm_gym.yaml").unlink()
    said = refused(predict_main, model, "--input=-", capsys=capsys)
    assert "copy is a model without lm_gym.yaml, which finished runs write: give the run folder" in said
    said = refused(predict_main, "hub:not an id", "--input=-", capsys=capsys)
    assert "no model 'not an id' on the Hugging Face hub: " in said
    assert said.count("\n") == 1


def test_push_uploads_the_model_without_checksums(run_dir, monkeypatch):
    done = []

    class Repository:
        repo_id = "ann/tagger"

    def create_repo(self, repo_id, **options):
        done.append((self.token, repo_id, options))
        return Repository

    def upload_folder(self, **options):
        done.append(options)
        return "https://huggingface.co/ann/tagger/commit/1"

    monkeypatch.setattr(HfApi, "create_repo", create_repo)
    monkeypatch.setattr(HfApi, "upload_folder", upload_folder)
    assert push_to_hub(run_dir, "tagger", private=True, token="hf_x") == "https://huggingface.co/ann/tagger/commit/1"
    assert done[0] == ("hf_x", "tagger", {"private": True, "exist_ok": True})
    assert (done[1]["repo_id"], done[1]["folder_path"]) == ("ann/tagger", run_dir / "best")
    assert done[1]["ignore_patterns"] == ["checksums.json"]


def test_a_run_that_is_not_finished_is_not_pushed(run_dir, tmp_path):
    (tmp_path / "config.yaml").write_text((run_dir / "config.yaml").read_text())
    (tmp_path / "best").mkdir()
    with pytest.raises(RunFolderError, match="is not finished: train it with --resume"):
        push_to_hub(tmp_path, "tagger")
    with pytest.raises(RunFolderError, match="does not exist"):
        push_to_hub(tmp_path / "none", "tagger")


def test_a_run_ends_with_commands_to_paste(run_dir, capsys, tmp_path):
    data = write_corpus(tmp_path / "people")
    train(data, tmp_path / "another run", "--budget.passes=0.5")
    lines = capsys.readouterr().out.partition("\nnext:\n")[2].splitlines()
    commands = [shlex.split(line) for line in lines]
    assert [words[1] for words in commands[:-1]] == ["evaluate", "predict", "play"]
    assert {words[1] for words in commands[:-1]} <= set(COMMANDS)
    assert all(words[2] == str(tmp_path / "another run") for words in commands[:-1])
    assert commands[-1] == ["tensorboard", "--logdir", str(tmp_path / "another run" / "tensorboard")]
