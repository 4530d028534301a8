"""The text-proto files behind flags whose messages the API package lacks: batching, monitoring, TLS.

The messages are declared here field by field, as in tensorflow_serving/config/ssl_config.proto,
monitoring_config.proto and servables/tensorflow/session_bundle_config.proto, in a pool of their own.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2

from serving.batching import BatchLimits
from serving.errors import StartError

_TYPES = {
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    "bool": descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
    "int64": descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
}
#: Message name to field name to type; a dot makes it a message, a star makes it repeated.
_MESSAGES: dict[str, dict[str, str]] = {
    "SSLConfig": {
        "server_key": "string",
        "server_cert": "string",
        "custom_ca": "string",
        "client_verify": "bool",
    },
    "PrometheusConfig": {"enable": "bool", "path": "string"},
    "MonitoringConfig": {"prometheus_config": ".imagemill.serving.PrometheusConfig"},
    "BatchingParameters": {
        "max_batch_size": ".google.protobuf.Int64Value",
        "batch_timeout_micros": ".google.protobuf.Int64Value",
        "max_enqueued_batches": ".google.protobuf.Int64Value",
        "num_batch_threads": ".google.protobuf.Int64Value",
        "thread_pool_name": ".google.protobuf.StringValue",
        "allowed_batch_sizes": "int64*",
        "pad_variable_length_inputs": "bool",
        "enable_large_batch_splitting": ".google.protobuf.BoolValue",
        "max_execution_batch_size": ".google.protobuf.Int64Value",
        "full_batch_scheduling_boost_micros": ".google.protobuf.Int64Value",
    },
}


def _declare() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="imagemill/serving/config_files.proto", package="imagemill.serving", syntax="proto3"
    )
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    for message_name, fields in _MESSAGES.items():
        message = file.message_type.add(name=message_name)
        for number, (name, kind) in enumerate(fields.items(), start=1):
            field = message.field.add(name=name, number=number)
            field.label = field.LABEL_REPEATED if kind.endswith("*") else field.LABEL_OPTIONAL
            if kind.startswith("."):
                field.type, field.type_name = field.TYPE_MESSAGE, kind
            else:
                field.type = _TYPES[kind.rstrip("*")]
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"imagemill.serving.{name}"))
        for name in _MESSAGES
    }


_CLASSES = _declare()


def _read(flag: str, path: Path, message_name: str) -> Any:
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), _CLASSES[message_name]())
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"--{flag} {path}: cannot be read: {error}") from None
    except text_format.ParseError as error:
        raise StartError(f"--{flag} {path}: this is no {message_name}: {error}") from None


def read_batching(path: Path) -> BatchLimits:
    """Bounds of batches from `--batching_parameters_file`; raises `StartError`.

    `batch_timeout_micros` is read and not used: batches here never wait for a timer.
    """
    message = _read("batching_parameters_file", path, "BatchingParameters")
    defaults = BatchLimits()
    sizes = tuple(message.allowed_batch_sizes)

    def value(name: str, default: int) -> int:
        given = getattr(message, name).value if message.HasField(name) else default
        if given < 1:
            raise StartError(f"--batching_parameters_file {path}: {name} must be positive. Received: {given}")
        return given

    batch_size = value("max_batch_size", 1000)
    if sizes and (list(sizes) != sorted(set(sizes)) or sizes[-1] != batch_size):
        raise StartError(
            f"--batching_parameters_file {path}: allowed_batch_sizes must increase and end with "
            f"max_batch_size = {batch_size}. Received: {list(sizes)}"
        )
    return BatchLimits(
        max_batch_size=batch_size,
        max_parallel=value("num_batch_threads", defaults.max_parallel),
        max_queue=batch_size * value("max_enqueued_batches", 10),
        allowed_sizes=sizes,
    )


@dataclass(frozen=True)
class Monitoring:
    """Whether and where Prometheus finds the metrics."""

    enabled: bool = True
    path: str = "/monitoring/prometheus/metrics"


def read_monitoring(path: Path) -> Monitoring:
    """Reads `--monitoring_config_file`; raises `StartError`."""
    config = _read("monitoring_config_file", path, "MonitoringConfig").prometheus_config
    return Monitoring(config.enable, config.path or Monitoring.path)


def read_tls(path: Path) -> grpc.ServerCredentials:
    """Credentials from `--ssl_config_file`; raises `StartError`."""
    config = _read("ssl_config_file", path, "SSLConfig")
    if not config.server_key or not config.server_cert:
        raise StartError(f"--ssl_config_file {path}: server_key and server_cert are needed, as PEM text")
    if config.client_verify and not config.custom_ca:
        raise StartError(f"--ssl_config_file {path}: client_verify needs custom_ca")
    return grpc.ssl_server_credentials(
        [(config.server_key.encode(), config.server_cert.encode())],
        root_certificates=config.custom_ca.encode() or None,
        require_client_auth=config.client_verify,
    )
