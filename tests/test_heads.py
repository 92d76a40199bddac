"""Heads of any model: located outside the encoder, matched by label names; incomplete checkpoints."""

import json
import warnings

import pytest
import torch as th
from policies import ARCHITECTURES, OTHERS, TAGS, V, config, make, observe
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedTokenizerFast

from lm_gym.agents.model.heads import head_parameters
from lm_gym.agents.model.loading import load_model
from lm_gym.agents.model.tokenizer import save_tokenizer
from lm_gym.tokenizer import load_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore:.* reads padding")

OWN = ["O", "B-CITY", "I-CITY", "B-FOOD", "I-FOOD"]
HEADS = {"bert": "classifier", "llama": "score", "modernbert": "classifier", "xlm": "classifier"}


def tagger(folder, architecture="bert", labels=OWN):
    """Save a token classifier with random weights to a folder."""
    network = load_model(config(architecture), "labels", labels=labels)
    for parameter in head_parameters(network).values():
        parameter.data.normal_(generator=th.Generator().manual_seed(parameter.numel()))
    network.save_pretrained(folder)
    return network


def drop(folder, part):
    """Remove the weights with that name from a checkpoint and return their number."""
    tensors = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if part not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    return len(tensors) - len(kept)


@pytest.fixture(autouse=True)
def _seeded():
    with th.random.fork_rng():
        th.manual_seed(0)
        yield


@pytest.mark.parametrize("architecture", HEADS)
@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (OWN, None),
        (OWN[::-1], None),
        (["O", "B-FOOD", "I-FOOD"], "3 of the 3 labels (dropped: B-CITY, I-CITY)"),
        ([*OWN, "B-TOOL", "I-TOOL"], "5 of the 7 labels (new: B-TOOL, I-TOOL)"),
        (["O", "B-TOOL", "B-FOOD", "I-FOOD", "I-TOOL"], "3 of the 5 labels (new: B-TOOL, I-TOOL; dropped: B-CITY"),
        (["up", "down"], "0 of the 2 labels (new: up, down; dropped: O, B-CITY, I-CITY, B-FOOD, I-FOOD)"),
    ],
)
def test_rows_go_to_the_labels_of_their_name(architecture, labels, said, tmp_path):
    trained = tagger(tmp_path, architecture)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        network = load_model(str(tmp_path), "labels", labels=labels)
    assert [str(warning.message).count(said or "-") for warning in told] == ([] if said is None else [1])
    assert [network.config.id2label[i] for i in range(len(labels))] == labels
    for (name, before), after in zip(
        trained.get_submodule(HEADS[architecture]).named_parameters(),
        network.get_submodule(HEADS[architecture]).parameters(),
        strict=True,
    ):
        assert len(after) == len(labels), name
        for row, label in enumerate(labels):
            equal = [own for own, values in zip(OWN, before, strict=True) if th.equal(values, after[row])]
            assert equal == ([label] if label in OWN else []), name
    encoder = dict(network.base_model.named_parameters())
    assert all(th.equal(encoder[name], p) for name, p in trained.base_model.named_parameters())


def test_labels_without_names_are_matched_by_their_number_alone(tmp_path):
    trained = tagger(tmp_path, labels=["LABEL_0", "LABEL_1", "LABEL_2"])
    with pytest.warns(UserWarning, match="does not name its 3 labels: its rows are used for O, B-PER, I-PER, in this"):
        network = load_model(str(tmp_path), "labels", labels=TAGS)
    assert th.equal(network.classifier.weight, trained.classifier.weight)
    with pytest.warns(UserWarning, match="has no names for its 3 labels: all 5 rows of the head are newly initialised"):
        network = load_model(str(tmp_path), "labels", labels=OWN)
    assert not any(th.equal(a, b) for a in network.classifier.weight for b in trained.classifier.weight)


def test_a_policy_without_names_takes_those_of_the_checkpoint(tmp_path):
    tagger(tmp_path, labels=TAGS)
    policy = make(len(TAGS), model=str(tmp_path))
    assert policy.network.config.id2label == dict(enumerate(TAGS))
    assert policy.config_kwargs()["labels"] == list(TAGS)


@pytest.mark.parametrize("architecture", ["bert", "distilbert", "llama", "gpt2"])
def test_an_encoder_in_part_is_refused(architecture, tmp_path):
    load_model(config(architecture), "labels", labels=TAGS).save_pretrained(tmp_path)
    part = {"bert": "layer.1.", "distilbert": "layer.1.", "llama": "layers.1.", "gpt2": "h.1."}[architecture]
    count = drop(tmp_path, part)
    with pytest.raises(ValueError, match=rf"lacks {count} weights of its encoder, among them \S*{part}"):
        load_model(str(tmp_path), "labels", labels=TAGS)


def test_a_pooler_that_nothing_reads_may_be_absent(tmp_path):
    load_model(config("layoutlm"), "labels", labels=TAGS).save_pretrained(tmp_path)
    assert drop(tmp_path, "pooler") == 2
    load_model(str(tmp_path), "labels", labels=TAGS)
    assert drop(tmp_path, "token_type") == 1
    with pytest.raises(ValueError, match=r"lacks 1 weights of its encoder.*token_type_embeddings"):
        load_model(str(tmp_path), "labels", labels=TAGS)


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, *OTHERS])
@pytest.mark.parametrize("n", [V, len(TAGS)])
def test_the_head_is_what_stands_outside_the_encoder(architecture, n):
    policy = make(n, architecture=architecture, head_lr_scale=7.0)
    assert policy.head == ("vocabulary" if n == V else "labels")
    names = {id(p): name for name, p in policy.network.named_parameters()}
    scales = {names.get(id(p)): g["lr_scale"] for g in policy.optimizer.param_groups for p in g["params"]}
    head = head_parameters(policy.network)
    faster = {name for name, scale in scales.items() if scale == 7.0 and name is not None}
    assert faster == (set(head) if n == len(TAGS) else set())
    policy.set_training_mode(False)
    obs, _ = policy.obs_to_tensor(observe())
    with th.no_grad():
        packed = policy.positions(obs)
        whole = policy.network(input_ids=obs["input_ids"], attention_mask=obs["attention_mask"].long()).logits
    expected = whole[packed.rows, obs["positions"][packed.rows, packed.slots]].log_softmax(-1)
    assert th.allclose(packed.log_probs, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("architecture", "named", "kind"),
    [
        ("bert", None, "BertForMaskedLM"),
        ("bert", ["BertForTokenClassification"], "BertForMaskedLM"),
        ("bert", ["BertLMHeadModel"], "BertLMHeadModel"),
        ("gpt2", None, "GPT2LMHeadModel"),
        ("llama", None, "LlamaForCausalLM"),
        ("modernbert", None, "ModernBertForMaskedLM"),
    ],
)
def test_a_vocabulary_head_is_that_of_the_checkpoints_kind(architecture, named, kind):
    model = {**config(architecture), "architectures": named}
    policy = make(V, architecture=architecture, model=model)
    assert type(policy.network).__name__ == kind
    again = make(V, **policy.config_kwargs())
    assert type(again.network).__name__ == kind


def test_models_without_such_a_head_are_refused():
    opt = AutoConfig.for_model("opt", vocab_size=V, hidden_size=16, num_hidden_layers=1, ffn_dim=32)
    opt.num_attention_heads, opt.word_embed_proj_dim = 2, 16
    with pytest.raises(ValueError, match="the head of OPTForCausalLM cannot run without its encoder"):
        load_model(opt.to_dict(), "vocabulary")
    with pytest.raises(ValueError, match="no token classifier of model 'opt'"):
        load_model(opt.to_dict(), "labels", labels=TAGS)
    with pytest.raises(ValueError, match="'vit' is neither a masked nor a causal language model"):
        load_model(AutoConfig.for_model("vit").to_dict(), "vocabulary")
    with pytest.raises(ValueError, match="vocabulary head has 50 choices, the action space has 3"):
        make(len(TAGS), head="vocabulary")


def test_as_many_labels_as_tokens_take_a_head_of_labels():
    policy = make(V, head="labels", labels=[f"tag {i}" for i in range(V)])
    assert type(policy.network).__name__ == "BertForTokenClassification"


def test_a_saved_tokenizer_cuts_words_as_the_environment_does(tmp_path):
    texts = ["Anna met Bo in Oslo .", "the small ship left Riga at noon"]
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    made.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=120, special_tokens=special))
    made.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    source, target = tmp_path / "source", tmp_path / "target"
    PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", pad_token="<pad>").save_pretrained(source)
    save_tokenizer(str(source), target)
    saved, ours = AutoTokenizer.from_pretrained(target), load_tokenizer(str(source))
    for text in texts:
        assert saved(text)["input_ids"] == [*ours.prefix, *ours.encode_text(text.split()), *ours.suffix]
    assert json.loads((target / "tokenizer.json").read_text())["pre_tokenizer"]["add_prefix_space"]


def test_an_encoder_alone_has_a_fresh_head_and_no_complaint_of_labels(tmp_path):
    AutoModel.from_config(AutoConfig.for_model(**config())).save_pretrained(tmp_path)
    network = load_model(str(tmp_path), "labels", labels=TAGS)  # warnings are errors here
    assert network.classifier.weight.shape == (len(TAGS), 16)
