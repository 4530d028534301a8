"""Which model a candidate has to hold its own against: the latest other one that was blessed."""

from __future__ import annotations

from ml_metadata.metadata_store.metadata_store import MetadataStore
from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.components.common.resolver import ResolverStrategy


class LatestOtherBlessed(ResolverStrategy):
    """Of `model`, the latest that a `model_blessing` blesses and that is not the `candidate`.

    TFX's LatestBlessedModelStrategy gives the candidate itself when nothing changed since it was blessed: it
    comes out of the cache, is compared with itself, and a run without any work evaluates and reports anew.
    """

    def resolve_artifacts(
        self, store: MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        candidates = {artifact.id for artifact in input_dict["candidate"]}
        blessings = {
            blessing.get_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY): blessing
            for blessing in input_dict["model_blessing"]
            if blessing.get_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY) == 1
        }
        for model in sorted(input_dict["model"], key=lambda artifact: artifact.id, reverse=True):
            if model.id in blessings and model.id not in candidates:
                return {"candidate": [], "model": [model], "model_blessing": [blessings[model.id]]}
        return {"candidate": [], "model": [], "model_blessing": []}
