# `make demo` and `make test` work on a fresh machine with Python 3.11 or later.
PYTHON ?= python3
BIN = .venv/bin
# Python compiles a module when it is first imported: to compile all takes longer than to download.
PIP = $(BIN)/python -m pip install --quiet --no-compile

.PHONY: demo help install test test-extras test-slow test-rest fingerprints benchmark benchmark-placement benchmark-generator benchmark-registration pictures clean

demo: install  ## reconstruct the bundled example photo
	$(BIN)/photoscene run examples/breakfast.jpg --prompts examples/breakfast.prompts.json -o runs/breakfast

help:  ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-24s %s\n", $$1, $$2 }' Makefile

install: .venv/installed  ## create .venv with everything pinned

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "photoscene needs Python 3.11 or later; try make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(PIP) --constraint constraints.txt --editable '.[dev]'
	touch $@

.venv/generator: .venv/installed  ## the image-to-3D networks need torch, which is large
	$(PIP) --constraint constraints.txt --editable '.[dev,pixal3d]'
	touch $@

.venv/full: .venv/installed moge-requirements.txt  ## the libraries of profile full, without weights
	$(PIP) --constraint constraints.txt --editable '.[dev,full,train]'
	$(PIP) --no-deps -r moge-requirements.txt
	touch $@

test: .venv/full  ## lint, types and the default suite
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/pytest -n 2 --dist loadfile

test-extras: .venv/full  ## the tests that need more than `make test` installs; what is not there is skipped
	$(BIN)/pytest -n 2 --dist loadfile -m "extra and not slow" -rs

test-slow: .venv/full  ## the tests that kill runs and wait
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m slow  # else the longest file, of few tests, is last

# Three on two cores, since many of these wait; files as they come, else the longest one is last.
test-rest: .venv/full  ## what `make test` leaves out, but for the longest, at once
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder -m "(extra or slow) and not long" -rs

fingerprints: .venv/full  ## record what steps and backends with a new VERSION make of tiny inputs
	PYTHONPATH=tests $(BIN)/python -m fingerprints

benchmark: install  ## measure on the ground-truth scenes and write docs/benchmarks.md
	$(PIP) --constraint constraints.txt --editable '.[dev,benchmark]'
	$(BIN)/python -m benchmarks.scenes
	$(BIN)/python -m benchmarks.waiting

benchmark-placement: install  ## sweep the placement methods and write docs/placement_sweep.md (half an hour)
	$(PIP) --constraint constraints.txt --editable '.[dev,benchmark]'
	$(BIN)/python -m benchmarks.placement

DEVICE ?= cpu
benchmark-generator: .venv/generator  ## measure the generator on random weights (ten minutes; on a GPU with DEVICE=cuda, whole objects too)
	$(BIN)/python -m benchmarks.generator --launches
	$(BIN)/python -m benchmarks.generator --device $(DEVICE)
	$(BIN)/python -m benchmarks.generator --device $(DEVICE) --convolution

benchmark-registration: install  ## measure how an image editor's picture is brought back to the photo (five minutes)
	$(BIN)/python -m benchmarks.registration

pictures: install  ## draw docs/gallery and docs/screenshots anew
	$(BIN)/python -m benchmarks.gallery
	$(BIN)/python -m benchmarks.screenshots

clean:
	rm -rf .venv runs

.PHONY: validator
validator: tests/support/gltf_validator/node_modules  ## the Khronos glTF validator, if npm is there

tests/support/gltf_validator/node_modules: tests/support/gltf_validator/package.json
	cd tests/support/gltf_validator && npm install --silent --no-audit --no-fund --no-package-lock
	touch $@

TRAINING ?= runs/lite_generator
MESHES ?= ../shared/data/objects/train.tar.xz
SCENES ?= runs/lite_points
PAIRS ?= runs/lite_completion
SURROUNDINGS ?= ../shared/data

.PHONY: train-lite-generator train-lite-completion train-lite-points train-lite-masks benchmark-lite
.venv/train: .venv/installed  ## the libraries that training needs
	$(PIP) --constraint constraints.txt --editable '.[dev,train]'
	touch $@

train-lite-generator: .venv/train  ## train the lite generator anew (90 minutes on two cores, or on a GPU); goes on where it was stopped
	nice $(BIN)/python -m training.generator.make_data --out $(TRAINING)/data --archive $(MESHES)
	OMP_WAIT_POLICY=PASSIVE nice $(BIN)/python -m training.generator.train --data $(TRAINING)/data --out $(TRAINING)/run
	$(BIN)/python -m training.generator.export --run $(TRAINING)/run

train-lite-completion: .venv/train  ## train the lite completion anew (half an hour on two cores); goes on where it was stopped
	nice $(BIN)/python -m training.completion.make_data --out $(PAIRS)/data --archive $(MESHES)
	OMP_WAIT_POLICY=PASSIVE nice $(BIN)/python -m training.completion.train --data $(PAIRS)/data --out $(PAIRS)/run
	$(BIN)/python -m training.completion.export --run $(PAIRS)/run

train-lite-points: .venv/train  ## train the lite point map anew (an hour for its scenes, forty minutes for training, on two cores); goes on where it was stopped
	nice $(BIN)/python -m training.scenes.make_data --out $(SCENES) --archive $(MESHES) --data $(SURROUNDINGS)
	OMP_WAIT_POLICY=PASSIVE nice $(BIN)/python -m training.points.train --data $(SCENES)/scenes --out $(SCENES)/run
	$(BIN)/python -m training.points.export --run $(SCENES)/run

train-lite-masks: .venv/train  ## train the lite masks anew, on the scenes of the lite point map (five minutes on one core); goes on where it was stopped
	nice $(BIN)/python -m training.scenes.make_data --out $(SCENES) --archive $(MESHES) --data $(SURROUNDINGS)
	OMP_WAIT_POLICY=PASSIVE nice $(BIN)/python -m training.masks.train --data $(SCENES)/scenes --out $(SCENES)/masks
	$(BIN)/python -m training.masks.export --run $(SCENES)/masks

benchmark-lite: .venv/train  ## measure the lite profile and its stages, and draw contact sheets
	$(PIP) --constraint constraints.txt --editable '.[dev,train,benchmark]'
	nice $(BIN)/python -m benchmarks.lite.renders
	$(BIN)/python -m benchmarks.lite
