"""Ray clusters for the tests. Importing this module needs Ray."""

from collections.abc import Iterator
from contextlib import contextmanager

from ray.cluster_utils import Cluster


@contextmanager
def two_nodes(cpus: int = 1) -> Iterator[Cluster]:
    """Start two nodes on this machine, with room for this number of workers each."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": cpus, "include_dashboard": False})
    cluster.add_node(num_cpus=cpus)
    try:
        yield cluster
    finally:
        cluster.shutdown()
