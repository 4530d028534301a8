"""Package metadata: abstract dependency ranges; `requirements.txt` holds the lock."""

import pathlib

from setuptools import find_packages, setup

setup(
    name="imagemill",
    version="0.1.0",
    description="From a folder of images to a served classifier: TFX, Kubeflow, TensorFlow Serving",
    long_description=pathlib.Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.12",
    packages=find_packages(include=[f"{room}*" for room in ("pipeline", "components", "modules", "serving")]),
    package_data={"components.report": ["*.j2", "*.css"]},
    install_requires=[
        "tfx[kfp]>=1.21,<1.22",
        "tensorflow>=2.21,<2.22",
        "keras-tuner>=1.4.8,<2",
        "scikit-learn>=1.5",  # of keras-tuner's Gaussian process
        "scipy>=1.14",
        "threadpoolctl>=3.5",
        "tensorflow-transform>=1.21,<1.22",
        "apache-beam>=2.77,<3",
        "kfp>=2.16.1,<2.17",
        "kfp-kubernetes>=2.16.1,<2.17",
        "tensorflow-serving-api>=2.19,<2.20",
        "grpcio-health-checking<=1.81.1",
        "grpcio-reflection<=1.81.1",
        "pydantic>=2.12,<3",
        "PyYAML>=6",
        "typer>=0.20",
        "rich>=14",
        "Pillow>=12.3",
        "scipy>=1.14",
        "pymysql>=1.1",
        "matplotlib>=3.10",
        "tensorboard>=2.20",
        "jinja2>=3.1",
        "numpy>=2",
    ],
    entry_points={"console_scripts": ["imagemill=pipeline.cli:main"]},
)
