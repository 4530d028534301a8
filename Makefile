# Everything a newcomer needs: `make demo`, `make test`. Each does its own set-up.

PY := .venv/bin/python

.PHONY: help setup demo test image-test bench bench-quick lint format lock docs sbom clean

help:
	@echo "make demo    set up, run the pipeline on handwritten digits, serve and query the model"
	@echo "make test    set up, lint, and run every test"
	@echo "make image-test  build the container image and try it (as root, with buildah; 20 GB of disk)"
	@echo "make bench   measure everything against the bars, about an hour; writes benchmarks/RESULTS.md"
	@echo "make bench-quick  a tenth of it, in less than ten minutes; writes nothing"
	@echo "make lint    check style and formatting"
	@echo "make format  apply formatting"
	@echo "make docs    generate docs/configuration.md from the typed models"
	@echo "make sbom    write sbom.json, the CycloneDX bill of materials of the lock"
	@echo "make lock    resolve requirements.txt anew from setup.py"
	@echo "make clean   remove the environment and what the demo wrote"

setup:
	@scripts/setup

demo: setup
	@$(PY) -m pipeline.demo

test: lint
	@scripts/test-packages
	@$(PY) -m pytest

image-test: setup
	@$(PY) -m pytest -m image tests/test_image.py

bench: setup
	@$(PY) -m benchmarks

bench-quick: setup
	@$(PY) -m benchmarks --quick

lint: setup
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check --quiet . || (echo "Run 'make format'." && false)

format: setup
	@.venv/bin/ruff check --fix --quiet .
	@.venv/bin/ruff format --quiet .

COMPILE := .venv/bin/uv pip compile --quiet --generate-hashes --python-version 3.11 --no-header \
	--no-annotate --no-emit-index-url --no-emit-find-links

lock: setup
	@$(COMPILE) --override overrides.txt setup.py -o requirements.txt
	@$(COMPILE) -c requirements.txt requirements-dev.in -o requirements-dev.txt

	@echo 'tensorflow[and-cuda]' | $(COMPILE) -c requirements.txt - -o requirements-gpu.txt

# The tool of CycloneDX itself, in an environment of its own: thirty packages that nothing else needs.
sbom: setup
	@.venv/bin/uv tool run --quiet --from cyclonedx-bom==7.5.0 cyclonedx-py requirements \
		--output-format JSON --output-file sbom.json requirements.txt

docs: setup
	@$(PY) -m docs.generate_configuration

clean:
	@rm -rf .venv demo
