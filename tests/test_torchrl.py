"""TorchRL takes the environments as they are: single ones, and native ones with autoreset disabled."""

import pytest

from tests.cases import CASES, single, vector
from tests.libraries import needs

pytestmark = [*needs("torchrl"), pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize(("id_", "options"), CASES)
def test_torchrl_checks(id_, options):
    from torchrl.envs import GymWrapper, check_env_specs

    for env in (single(id_, options), vector(id_, options, 3, "DISABLED")):
        wrapped = GymWrapper(env, categorical_action_encoding=True)
        wrapped.set_seed(0)
        check_env_specs(wrapped, break_when_any_done="both")
