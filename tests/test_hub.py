"""Data, tokenizers and models from the Hugging Face hub when the hub cannot be reached."""

import socket
from threading import Event

import huggingface_hub
import pytest
from huggingface_hub import constants

from lm_gym.agents.model.loading import load_model
from lm_gym.agents.runs.run_folder import RunFolderError
from lm_gym.agents.runs.saved_model import open_folder
from lm_gym.data import DataError, load_dataset
from lm_gym.hub import hub_or_cache
from lm_gym.tokenizer import load_tokenizer

REFUSED = "localhost cannot be reached (Connection refused)"


@pytest.fixture
def unreachable(monkeypatch):
    """Make the hub an address that refuses connections, and waiting an error."""
    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://localhost:{port}")
    monkeypatch.setattr("lm_gym.hub.getproxies", dict)
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail(f"waits {seconds} s for another try"))


@pytest.mark.parametrize(
    ("load", "error"),
    [
        (lambda: load_dataset("hub:nobody/nothing"), DataError),
        (lambda: load_tokenizer("nobody/nothing"), ValueError),
        (lambda: load_model("nobody/nothing", "labels", labels=["O"]), FileNotFoundError),
        (lambda: open_folder("hub:nobody/nothing"), RunFolderError),
    ],
    ids=["dataset", "tokenizer", "model", "run"],
)
def test_an_unreachable_hub_is_an_error_without_a_retry(load, error, unreachable):
    with pytest.raises(error) as raised:
        load()
    assert REFUSED in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1
    assert constants.HF_HUB_OFFLINE is False


def test_only_the_cache_is_read_while_the_hub_is_unreachable(unreachable):
    import datasets

    with hub_or_cache("nobody/nothing") as reason:
        assert reason == REFUSED
        assert huggingface_hub.is_offline_mode()
        assert datasets.config.HF_HUB_OFFLINE
    assert not huggingface_hub.is_offline_mode()
    assert not datasets.config.HF_HUB_OFFLINE


def test_a_hub_that_answers_is_read(unreachable, monkeypatch):
    with socket.create_server(("localhost", 0)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://localhost:{server.getsockname()[1]}")
        with hub_or_cache("nobody/nothing") as reason:
            assert reason == ""
            assert not huggingface_hub.is_offline_mode()


def test_a_slow_hub_is_given_up(unreachable, monkeypatch):
    waiting = Event()
    monkeypatch.setattr("lm_gym.hub._SECONDS", 0.1)

    def stall(address, timeout):
        waiting.wait()
        raise OSError("too late")

    monkeypatch.setattr("socket.create_connection", stall)
    with hub_or_cache("nobody/nothing") as reason:
        assert reason == "localhost cannot be reached (no connection within 0.1 seconds)"
    waiting.set()


@pytest.mark.parametrize("case", ["folder", "offline", "proxy"])
def test_the_hub_is_not_tried_without_need(case, unreachable, monkeypatch, tmp_path):
    monkeypatch.setattr("lm_gym.hub._obstacle", lambda: pytest.fail("tried"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", case == "offline")
    monkeypatch.setattr("lm_gym.hub.getproxies", lambda: {"https": "x"} if case == "proxy" else {})
    with hub_or_cache(str(tmp_path) if case == "folder" else "nobody/nothing") as reason:
        assert reason == ""
