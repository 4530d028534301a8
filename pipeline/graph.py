"""The graph: which components a run has and what flows between them. Pure; nothing runs here."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass

from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.components import (
    ExampleValidator,
    Pusher,
    SchemaGen,
    Trainer,
    Transform,
)
from tfx.dsl.compiler.compiler import Compiler
from tfx.dsl.components.base import executor_spec
from tfx.dsl.components.common.resolver import Resolver
from tfx.orchestration import metadata
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import infra_validator_pb2, pusher_pb2, trainer_pb2, transform_pb2
from tfx.proto.orchestration import pipeline_pb2
from tfx.types import Channel
from tfx.types.standard_artifacts import Model, ModelBlessing

# After tfx, which replaces a module that TFDV needs and tfx-bsl dropped.
import tensorflow_data_validation as tfdv  # isort: skip

from components.artifacts import PassedStatistics
from components.data_gate.component import DataGate
from components.drift_gate.component import DriftGate
from components.drift_gate.strategy import LatestIfAny
from components.evaluator.component import Evaluator
from components.evaluator.strategy import LatestOtherBlessed
from components.image_example_gen.component import ImageExampleGen
from components.infra_validator.component import InfraValidator
from components.kept_schema.component import KeptSchema
from components.pusher.executor import Executor as AtomicPusherExecutor
from components.report.component import Report
from components.statistics_gen.component import StatisticsGen
from components.tuner.component import Tuner
from modules import export, features, preprocessing
from modules.settings import TrainerSettings
from pipeline.beam_settings import BeamSettings
from pipeline.code import code_version
from pipeline.config import Config

# Without a runner named, Beam looks for the Prism binary on the internet; without a mode, it guesses one.
BEAM_ARGUMENTS = BeamSettings().arguments()

#: Nodes whose effect lies outside the artifact store, so that an earlier success proves nothing now.
UNCACHED_NODES = ("Pusher",)


@dataclass(frozen=True)
class Paths:
    """Where a run keeps things; a runner decides.

    Attributes:
      pipeline_root: directory or URI of the artifacts.
      serving: directory or URI below which models are served, a folder a model name.
    """

    pipeline_root: str
    serving: str


def create_pipeline(
    config: Config,
    paths: Paths,
    connection: metadata.metadata_store_pb2.ConnectionConfig | None = None,
    enable_cache: bool = True,
) -> Pipeline:
    """The whole pipeline of a configuration.

    Args:
      config: validated configuration with `data.path` set.
      paths: where artifacts and served models go.
      connection: of ML Metadata; None where the runner knows it.
      enable_cache: whether a node with equal inputs and settings takes its earlier outputs.
    """
    # Reads every image once: decodes it, refuses what cannot be learned from, divides into splits.
    example_gen = ImageExampleGen(
        input_base=config.data.path,
        settings=config.data.ingest.model_dump_json(),
        code=code_version("components/image_example_gen"),
    ).with_beam_pipeline_args(config.beam.arguments())

    # Describes the images by their figures; the pixels themselves would only cost time.
    statistics_gen = StatisticsGen(
        examples=example_gen.outputs["examples"],
        stats_options=tfdv.StatsOptions(
            schema=_descriptive_schema(),
            experimental_filter_read_paths=True,
            # The gates look at every class, and the default ends at a thousand.
            num_rank_histogram_buckets=100_000,
            # Also where Beam computes them, with fewer stages. Exact up to 16,384 classes, and close beyond.
            use_sketch_based_topk_uniques=True,
        ),
    ).with_beam_pipeline_args(config.beam.arguments())

    # Says what the figures may be: inferred from this data, or kept by the user.
    if config.gate.schema_file:
        schema_gen = KeptSchema(text=pathlib.Path(config.gate.schema_file).read_text(encoding="utf-8"))
    else:
        schema_gen = SchemaGen(statistics=statistics_gen.outputs["statistics"], infer_feature_shape=True)

    # Finds what does not fit the schema, split by split.
    example_validator = ExampleValidator(
        statistics=statistics_gen.outputs["statistics"], schema=schema_gen.outputs["schema"]
    )

    # Stops the run on any of it. Transform's schema comes from here: nothing passes by.
    gate = DataGate(
        statistics=statistics_gen.outputs["statistics"],
        schema=schema_gen.outputs["schema"],
        anomalies=example_validator.outputs["anomalies"],
        code=code_version("components/data_gate"),
    )

    # Stops it too when the data no longer look like those of the last run that passed.
    previous_data = Resolver(strategy_class=LatestIfAny, reference=Channel(type=PassedStatistics)).with_id(
        "PreviousData"
    )
    drift_gate = DriftGate(
        statistics=statistics_gen.outputs["statistics"],
        reference=previous_data.outputs["reference"],
        settings=config.drift,
        code=code_version("components/drift_gate"),
    )
    previous_data.add_upstream_node(gate)

    # Computes the class vocabulary and scaling, and exports the graph of decode and resize. Neither
    # materialized images nor their statistics: both cost many times what the trainer's decoding does.
    transform = Transform(
        examples=example_gen.outputs["examples"],
        schema=gate.outputs["checked_schema"],
        preprocessing_fn="modules.preprocessing.preprocessing_fn",
        splits_config=transform_pb2.SplitsConfig(analyze=[features.TRAIN]),
        materialize=False,
        disable_statistics=True,
        custom_config={
            "settings": preprocessing.PreprocessingSettings(
                pixels=config.data.pixels,
                transform=config.transform,
                background=config.data.background,
                # What may be asked of the served model need not be as small as what it learned from.
                max_pixels=max(config.data.max_pixels, preprocessing.MAX_PIXELS),
                scalings=_tuned_scalings(config),
            ).model_dump_json(),
            "code": code_version("modules"),
        },
    )

    transform.add_upstream_node(drift_gate)

    training = {
        "examples": example_gen.outputs["examples"],
        "transform_graph": transform.outputs["transform_graph"],
        "train_args": trainer_pb2.TrainArgs(splits=[features.TRAIN]),
        "eval_args": trainer_pb2.EvalArgs(splits=[features.VALIDATION]),
    }
    training_config = {
        "settings": TrainerSettings(
            pixels=config.data.pixels,
            model=config.model,
            train=config.train,
            augment=config.augment,
            serve=config.serve,
        ).model_dump_json(),
        "code": code_version("modules"),
    }

    # Searches for the best settings, where the configuration gives search spaces.
    tuner = None
    if config.tune is not None:
        tuner = Tuner(
            tuner_fn="modules.tuning.tuner.tuner_fn",
            **training,
            custom_config={**training_config, "tune": config.tune.model_dump_json()},
        )

    # Trains the chosen network and exports it with the graph in front.
    trainer = Trainer(
        run_fn="modules.training.run_fn",
        **training,
        hyperparameters=tuner.outputs["best_hyperparameters"] if tuner else None,
        custom_config=training_config,
    )

    # The model in production, as far as this pipeline knows: the latest other one that was blessed. The
    # candidate makes it wait for the training, which may take a night in which another run blesses its model.
    baseline = Resolver(
        strategy_class=LatestOtherBlessed,
        candidate=trainer.outputs["model"],
        model=Channel(type=Model),
        model_blessing=Channel(type=ModelBlessing),
    ).with_id("Baseline")

    # Serves the candidate and sends it real requests; keeps them as its warm-up, and how long they took.
    infra_validator = InfraValidator(
        model=trainer.outputs["model"],
        examples=example_gen.outputs["examples"],
        serving_spec=infra_validator_pb2.ServingSpec(
            # TFX wants a binary and a platform named; our executor serves in a local process instead.
            tensorflow_serving=infra_validator_pb2.TensorFlowServing(tags=["local"]),
            local_docker=infra_validator_pb2.LocalDockerConfig(),
            model_name=config.push.model_name,
        ),
        request_spec=infra_validator_pb2.RequestSpec(
            tensorflow_serving=infra_validator_pb2.TensorFlowServingRequestSpec(
                signature_names=[export.SERVING_EXAMPLES]
            ),
            split_name=features.TEST,
            num_examples=20,
            make_warmup=True,
        ),
        validation_spec=infra_validator_pb2.ValidationSpec(num_tries=1, max_loading_time_seconds=120),
    )

    # Blesses the candidate when it holds its own on the test split, which nothing has seen before.
    evaluator = Evaluator(
        examples=example_gen.outputs["examples"],
        model=trainer.outputs["model"],
        baseline_model=baseline.outputs["model"],
        infra_blessing=infra_validator.outputs["blessing"],
        settings=config.evaluate,
        code=code_version("components/evaluator"),
    )

    # Puts a model that is both blessed and servable, with its warm-up, where the model server looks.
    pusher = Pusher(
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=infra_validator.outputs["blessing"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(
                base_directory=f"{paths.serving}/{config.push.model_name}"
            )
        ),
        custom_executor_spec=executor_spec.ExecutorClassSpec(AtomicPusherExecutor),
    )

    # Shows all of it on one page, also when the model was not blessed. Nothing waits for it.
    report = Report(
        examples=example_gen.outputs["examples"],
        quarantine=example_gen.outputs["quarantine"],
        transform_graph=transform.outputs["transform_graph"],
        model=trainer.outputs["model"],
        model_run=trainer.outputs["model_run"],
        evaluation=evaluator.outputs["evaluation"],
        tuner_results=tuner.outputs["tuner_results"] if tuner else None,
        settings=config.report,
        config=config.model_dump_json(),
        code=code_version("components", "modules", "pipeline"),
    )
    report.add_upstream_node(infra_validator)

    return Pipeline(
        # The line of models that are compared with each other: one name, one line.
        pipeline_name=config.push.model_name,
        pipeline_root=paths.pipeline_root,
        components=[
            example_gen,
            statistics_gen,
            schema_gen,
            example_validator,
            gate,
            previous_data,
            drift_gate,
            transform,
            *([tuner] if tuner else []),
            trainer,
            baseline,
            infra_validator,
            evaluator,
            pusher,
            report,
        ],
        metadata_connection_config=connection,
        enable_cache=enable_cache,
        beam_pipeline_args=list(BEAM_ARGUMENTS),
    )


def _tuned_scalings(config: Config) -> tuple[str, ...]:
    """The scalings that a search may choose: Transform computes them all, as it would a single one."""
    space = config.tune.spaces.get("transform.scaling") if config.tune else None
    return space.values if space else ()


def _descriptive_schema() -> schema_pb2.Schema:
    """The features to read for the statistics; the others are not even parsed."""
    kinds = {bytes: schema_pb2.BYTES, int: schema_pb2.INT, float: schema_pb2.FLOAT}
    described = [
        schema_pb2.Feature(name=name, type=kinds[kind]) for name, kind in features.DESCRIPTIVE.items()
    ]
    return schema_pb2.Schema(feature=described)


def compile_pipeline(pipeline: Pipeline) -> pipeline_pb2.Pipeline:
    """The intermediate representation that both runners launch nodes from."""
    ir = Compiler().compile(pipeline)
    for node in ir.nodes:
        if node.pipeline_node.node_info.id in UNCACHED_NODES:
            node.pipeline_node.execution_options.caching_options.enable_cache = False
    return ir
