"""Masked language modelling as an environment."""

from lm_gym.envs.env import TextEnv
from lm_gym.envs.vector import TextVectorEnv


class MaskedLMVectorEnv(TextVectorEnv):
    """Restore the masked tokens of N texts at once: see the manual of `MaskedLMEnv`, and `TextVectorEnv`."""

    task_name = "masked_lm"


class MaskedLMEnv(TextEnv):
    """Restore the masked tokens of a text.

    ## Description

    An episode is one text, or a piece of at most `max_length` sub-tokens of a longer one. Of its tokens, exactly
    max(1, round(`mask_probability` × those that may be masked)) are replaced by the mask token; each of them is a
    position. (All are masked: BERT's 80/10/10 is a device of its training loss.) Special tokens and unknown words
    are never masked. The agent says which token stood there, from left to right or all at once.

    ## Action Space

    With n tokens in the tokenizer's vocabulary and T masked tokens in the text that has most:

    | `unit` | `actions="token"` | `actions="distribution"` |
    |---|---|---|
    | `"token"` | `Discrete(n)` | `Box(-1e4, 1e4, (n,), float32)` |
    | `"sequence"` | `MultiDiscrete([n] * T)` | `Box(-1e4, 1e4, (T, n), float32)` |

    A distribution is given by unnormalised log-probabilities; any finite ones are played. What stands
    where a text has no masked token is ignored. `action_masks()` leaves out special tokens and the unknown word; it
    advises, and any token is played as it is.

    ## Observation Space

    A Dict of integer Boxes, padded to L sub-tokens (the longest text of all splits, at most `max_length`):

    | key | shape | values |
    |---|---|---|
    | `input_ids` | int64 [L] | sub-token ids, masks, special tokens and padding included |
    | `attention_mask` | int8 [L] | 1 where there is a sub-token |
    | `positions` | int64 [T] | index in `input_ids` of each masked token, 0 where padded |
    | `position_mask` | int8 [T] | 1 where there is a masked token |
    | `predictions` | int64 [T] | tokens given so far; n where undecided or padded |
    | `cursor` | int64 [1] | index in `positions` of the one to restore now; at the end, the last (`unit="token"`) |
    | `action_mask` | int8 [n] | 1 where a token may have been masked (`mask_actions=True`) |

    ## Rewards

    `"log_likelihood"` (default): log p(gold) of a distribution, so that minus its mean is the cross-entropy; of a
    choice, the likelihood under a noisy channel (`lm_gym.rewards.LogLikelihood`). `"accuracy"`: 1 where a token is
    right; `"balanced_accuracy"`: the same, weighted by the inverse frequency of the gold token. With
    `unit="sequence"` the reward of a step is the sum over the text, and `info["position_rewards"]` (float32 [T])
    has the parts.

    ## Starting State

    A text of the split, masked: the next of the sampler, or the one in `options["indices"]`. Which tokens are masked
    depends on the seed, the text, and how often it has been played before; for texts asked for by `indices` on the
    text alone, so that an evaluation is the same everywhere. `info` has the number of the text as `index`, and its
    text, unmasked.

    ## Episode End

    An episode terminates with its last masked token; it is never truncated (but by `max_episode_steps`).

    ## Arguments

    - `dataset`: `"builtin"`, a file, a folder, `"hub:<id>"`, or a `Dataset` (see `lm_gym.data.load_dataset`)
    - `split`: `"train"`, `"validation"` or `"test"`
    - `tokenizer`: `"tiny"`, a folder or file, `"hub:<id>"`, or a tokenizer (see `lm_gym.tokenizer.load_tokenizer`)
    - `max_length=128`: most sub-tokens of a text; longer ones are cut into pieces between words
    - `mask_probability=0.15`: the part of a text's tokens that is masked
    - `unit="token"`: a step restores one token; `"sequence"`: all of them
    - `actions="token"`: a token; `"distribution"`: log-probabilities of all
    - `fill="parallel"`: masks stay while an episode runs; `"sequential"`: a prediction takes the place of its mask
      in `input_ids`, so that later decisions see it (with `unit="token"`)
    - `reward="log_likelihood"`: a name, `{name: weight}`, a `Reward`, or a function (see
      `lm_gym.rewards.make_reward`)
    - `reward_kwargs`: arguments of a named reward
    - `dense=True`: pay each token; `False`: the sum, at the last one
    - `sampling="shuffled"`: epochs without replacement; `"bucketed"`: the same in windows sorted by length, so that
      a batch has little padding; `"sequential"`: the order of the corpus
    - `mask_actions=False`: whether the observation has `action_mask`
    - `render_mode=None`: or `"ansi"`
    - `max_episode_steps=None`: most steps of an episode

    `gymnasium.make_vec` takes `autoreset_mode` and `group_size` as well (see `lm_gym.TextVectorEnv`).

    ## Version History

    - v0: first release
    """

    vector_class = MaskedLMVectorEnv
