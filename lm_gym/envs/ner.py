"""Named-entity recognition as an environment."""

from lm_gym.envs.env import TextEnv
from lm_gym.envs.vector import TextVectorEnv


class NERVectorEnv(TextVectorEnv):
    """Tag the words of N texts at once: the manual is that of `NEREnv`, the rest that of `TextVectorEnv`."""

    task_name = "ner"


class NEREnv(TextEnv):
    """Tag the words of a text.

    ## Description

    An episode is one text. Each of its words is a position: the word's first sub-token. The agent gives every word
    a tag of the IOB2 scheme (`O`, `B-X` for the first word of an entity of type X, `I-X` for the others), from left
    to right or all at once.

    ## Action Space

    With n tags (`env.task.choice_names`, "O" first) and T words in the longest text:

    | `unit` | `actions="token"` | `actions="distribution"` |
    |---|---|---|
    | `"token"` | `Discrete(n)` | `Box(-1e4, 1e4, (n,), float32)` |
    | `"sequence"` | `MultiDiscrete([n] * T)` | `Box(-1e4, 1e4, (T, n), float32)` |

    A distribution is given by unnormalised log-probabilities; any finite ones are played. What stands
    where a text has no word is ignored. `action_masks()` says which tags keep to IOB2 (I-X only after B-X or I-X);
    it advises, and any tag is played as it is.

    ## Observation Space

    A Dict of integer Boxes, padded to L sub-tokens (the longest text of all splits, at most `max_length`):

    | key | shape | values |
    |---|---|---|
    | `input_ids` | int64 [L] | sub-token ids, special tokens and padding included |
    | `attention_mask` | int8 [L] | 1 where there is a sub-token |
    | `positions` | int64 [T] | index in `input_ids` of each word's first sub-token, 0 where padded |
    | `position_mask` | int8 [T] | 1 where there is a word |
    | `predictions` | int64 [T] | tags given so far; n where undecided or padded |
    | `cursor` | int64 [1] | index in `positions` of the word to tag now; at the end, the last (`unit="token"`) |
    | `action_mask` | int8 [n] | 1 where a tag keeps to IOB2 (`mask_actions=True`) |

    ## Rewards

    `"f1"` (default): the change in the sentence's entity F1 that a tag makes; the changes of a text sum to its F1
    (`lm_gym.rewards.EntityF1`). `"accuracy"`: 1 where a tag is right; `"balanced_accuracy"`: the same, weighted by
    the inverse frequency of the gold tag. `"log_likelihood"`: log p(gold) of a distribution, or of a choice the
    likelihood under a noisy channel (`lm_gym.rewards.LogLikelihood`). With `unit="sequence"` the reward of a step is
    the sum over the text, and `info["position_rewards"]` (float32 [T]) has the parts.

    ## Starting State

    A text of the split, undecided: the next of the sampler, or the one in `options["indices"]`. `info` has its
    number as `index`, and its text.

    ## Episode End

    An episode terminates with its last word; it is never truncated (but by `max_episode_steps`).

    ## Arguments

    - `dataset`: `"builtin"`, a file, a folder, `"hub:<id>"`, or a `Dataset` (see `lm_gym.data.load_dataset`)
    - `split`: `"train"`, `"validation"` or `"test"`
    - `tokenizer`: `"tiny"`, a folder or file, `"hub:<id>"`, or a tokenizer (see `lm_gym.tokenizer.load_tokenizer`)
    - `max_length=128`: most sub-tokens of a text; words whose first one stands beyond it are dropped, counted in
      `env.cut`, and warned of
    - `unit="token"`: a step tags one word; `"sequence"`: all of them
    - `actions="token"`: a tag; `"distribution"`: log-probabilities of all
    - `reward="f1"`: a name, `{name: weight}`, a `Reward`, or a function (see `lm_gym.rewards.make_reward`)
    - `reward_kwargs`: arguments of a named reward
    - `dense=True`: pay each word; `False`: the sum, at the last one
    - `sampling="shuffled"`: epochs without replacement; `"bucketed"`: the same in windows sorted by length, so that
      a batch has little padding; `"sequential"`: the order of the corpus
    - `mask_actions=False`: whether the observation has `action_mask` (with `unit="token"`)
    - `render_mode=None`: or `"ansi"`
    - `max_episode_steps=None`: most steps of an episode

    `gymnasium.make_vec` takes `autoreset_mode` and `group_size` as well (see `lm_gym.TextVectorEnv`).

    `fill` and `mask_probability` are arguments of masked language modelling, without meaning here.

    ## Version History

    - v0: first release
    """

    vector_class = NERVectorEnv
