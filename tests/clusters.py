"""Ray clusters for the tests. Importing this module needs Ray."""

from collections.abc import Iterator
from contextlib import contextmanager

from ray.cluster_utils import Cluster


@contextmanager
def two_nodes() -> Iterator[Cluster]:
    """Start two nodes on this machine, with room for one worker each."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    try:
        yield cluster
    finally:
        cluster.shutdown()
