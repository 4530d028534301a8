"""How the reference of the drift gate is chosen: the latest that passed, or none at first."""

from __future__ import annotations

from ml_metadata.metadata_store.metadata_store import MetadataStore
from tfx import types
from tfx.dsl.components.common.resolver import ResolverStrategy


class LatestIfAny(ResolverStrategy):
    """The latest artifact of each channel; an empty list where there is none, which TFX's own refuses."""

    def resolve_artifacts(
        self, store: MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        return {
            key: sorted(artifacts, key=lambda artifact: artifact.id)[-1:]
            for key, artifacts in input_dict.items()
        }
