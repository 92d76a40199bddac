"""Label Studio's JSON export: tasks with their data, and the results of annotators."""

from collections.abc import Mapping
from typing import Any, TypeGuard

from lm_gym.data.builder import CorpusBuilder


def flatten(record: Mapping[str, Any], builder: CorpusBuilder) -> Mapping[str, Any] | None:
    """Return a task of Label Studio as a record with its spans in the column "label"; return other records unchanged.

    Args:
        record: a record of a JSON file.
        builder: counts tasks without an annotation, for which None is returned, and those with several, of which the
            first one is read.
    """
    data, annotations = record.get("data"), record.get("annotations")
    if not isinstance(data, Mapping) or not _are_annotations(annotations):
        return record
    results = [each["result"] for each in annotations if "result" in each and not each.get("was_cancelled")]
    if not results:
        builder.count("tasks have no annotation and are left out", left_out=True)
        return None
    if len(results) > 1:
        builder.count("tasks have several annotations, of which the first counts", left_out=False)
    values = [result.get("value", {}) for result in results[0]]
    return {**data, "label": [value for value in values if "start" in value]}


def _are_annotations(value: Any) -> TypeGuard[list[Mapping[str, Any]]]:
    """Return whether a value is a list of objects whose results, if any, are lists of objects with object values."""
    return isinstance(value, list) and all(
        isinstance(each, Mapping)
        and isinstance(results := each.get("result", []), list)
        and all(isinstance(result, Mapping) and isinstance(result.get("value", {}), Mapping) for result in results)
        for each in value
    )
