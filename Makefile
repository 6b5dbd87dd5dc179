# make results/table1.csv    one result, with all it needs; docs/targets.md lists them all
# make all                   every table, figure and page
# make smoke                 the whole workflow in miniature, in .smoke/; its numbers mean nothing
# make examples              each example's command: a method, a benchmark ... in a user's own files
# make doctor BACKBONE=...   whether a model's folder (or a backbone of config.yaml) can be edited
# make test                  the tests
# make check                 linters and types
# make config                what is written from settings and pins: config.yaml, docs/settings.md, environment.yml ...
# make site                  README and docs as a site, in .site/
# make clean                 removes the environment and all caches, never results/
#
# For maintainers (docs/targets.md): make bench science rehearsal fault-test retrain-test slurm slurm-test extras-test
#
# CORES=4 jobs side by side, GPUS=2 of them on GPUs; PYTHON=python3.12 makes the environment;
# SNAKEMAKE_ARGS="--configfile my.yaml -n" goes on to Snakemake.
# MMEDIT=folder gives the rehearsal MMEdit's annotations, REHEARSAL=--tiny a tiny backbone;
# FAULT_TARGET=results/table4.csv kills what makes that file alone.

PYTHON ?= python3
CORES ?= $(shell nproc 2>/dev/null || echo 1)
# One job per GPU.
GPUS ?= $(or $(filter-out 0,$(shell nvidia-smi -L 2>/dev/null | grep -c ^GPU)),1)
SNAKEMAKE_ARGS ?=
KILLS ?= 20
FAULT_TARGET ?= all
MMEDIT ?=
REHEARSAL ?=
BACKBONE ?=
DOCTOR_ARGS ?=

# Caches (Snakemake, matplotlib, Hugging Face) lie below the home folder; here where that cannot be written.
CACHE := $(shell home="$${XDG_CACHE_HOME:-$$HOME/.cache}"; mkdir -p "$$home" 2>/dev/null && test -w "$$home" || echo here)
ifeq ($(CACHE),here)
export XDG_CACHE_HOME := $(CURDIR)/.snakemake/cache
export MPLCONFIGDIR := $(CURDIR)/.snakemake/cache/matplotlib
endif

VENV := .venv
READY := $(VENV)/.ready
# What bench/ measures editing on.
MEASURED = $(addprefix results/stages/,visual/blip2-nano/dev.safetensors \
	$(addprefix knowledge/blip2-nano/,ffn_inputs.parquet encoders.safetensors memory.safetensors))
# Tests of what other packages open, which the extras bring.
WITH_EXTRAS = tests/front/test_export_peft.py tests/embedded/world/test_as_dataset.py tests/backbones/test_opened_folders.py
tables = $(foreach name,$(1),results/$(name).csv results/$(name)_edits.csv)
SNAKEMAKE = $(VENV)/bin/snakemake --workflow-profile profiles/local --resources gpu=$(GPUS) --cores $(CORES)

.PHONY: help all smoke doctor examples bench science rehearsal config test retrain-test fault-test check site slurm slurm-test extras-test clean FORCE
.DEFAULT_GOAL := help
.NOTPARALLEL:

# The lines at the top of this file, as far as the first empty one.
help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' $(firstword $(MAKEFILE_LIST))

all: $(READY)
	$(SNAKEMAKE) $(SNAKEMAKE_ARGS)

# Snakemake knows what is out of date, so it is always asked.
results/%: $(READY) FORCE
	$(SNAKEMAKE) $(SNAKEMAKE_ARGS) -- $@

FORCE:

smoke: $(READY)
	$(SNAKEMAKE) --directory .smoke --configfile presets/smoke.yaml $(SNAKEMAKE_ARGS)

doctor: $(READY)
	$(VENV)/bin/python -m unike_lib.front.cli doctor '$(BACKBONE)' $(DOCTOR_ARGS)

# The command of each example's README, on the backbone that the smoke run trained.
examples: smoke
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(VENV)/bin/python tools/run_examples.py .smoke

bench: $(READY)
	$(SNAKEMAKE) $(SNAKEMAKE_ARGS) -- $(MEASURED)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m bench

science: $(READY)
	$(SNAKEMAKE) --config preset=science $(SNAKEMAKE_ARGS) -- $(call tables,rivals cross) results/scope.csv
	$(SNAKEMAKE) --config preset=science,trained $(SNAKEMAKE_ARGS) -- $(call tables,trained in-context)
	$(SNAKEMAKE) --config preset=science,parts $(SNAKEMAKE_ARGS) -- $(call tables,parts mixed)
	$(SNAKEMAKE) --config preset=science,ablations $(SNAKEMAKE_ARGS) -- $(call tables,ablations)
	$(SNAKEMAKE) --config preset=science,hundred $(SNAKEMAKE_ARGS) -- $(call tables,hundred)
	$(SNAKEMAKE) --config preset=retention $(SNAKEMAKE_ARGS) -- results/figures/retention.pdf
	$(VENV)/bin/python -m tools.write_science --results results --commit "$$(git describe --always --dirty)"

rehearsal: $(READY)
	$(VENV)/bin/python -m tools.rehearsal prepare .rehearsal $(REHEARSAL) $(if $(MMEDIT),--annotations '$(MMEDIT)')
	$(VENV)/bin/snakemake --workflow-profile profiles/local --cores 2 --directory .rehearsal \
		--config preset=paper,rehearsal $(SNAKEMAKE_ARGS)
	$(VENV)/bin/python -m tools.rehearsal costs .rehearsal

config: $(READY)
	$(VENV)/bin/python tools/write_settings.py
	$(VENV)/bin/python tools/write_environment.py

test: $(READY)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 --dist worksteal

retrain-test: $(READY)
	OMP_NUM_THREADS=2 $(VENV)/bin/python -m pytest -m retrain tests/embedded

fault-test: $(READY)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -m fuzz tests/faults
	$(VENV)/bin/python tests/faults/kill.py --kills $(KILLS) --cores $(CORES) --target $(FAULT_TARGET)

check: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/snakefmt --check Snakefile rules
	$(VENV)/bin/snakemake --lint

site: $(READY)
	$(VENV)/bin/python -m pip install --quiet --editable '.[docs]'
	$(VENV)/bin/mkdocs build --quiet --strict

slurm: $(READY)
	$(VENV)/bin/python -m pip install --quiet --editable '.[slurm]'

slurm-test: slurm
	PYTHON=$(VENV)/bin/python tests/slurm/run.sh

extras-test: $(READY)
	$(VENV)/bin/python -m pip install --quiet --editable '.[exports,multi-gpu]'
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest $(WITH_EXTRAS)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in {(3, 11), (3, 12)})' || \
		{ echo "$(PYTHON): expected Python 3.11 or 3.12; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo "$(PYTHON): cannot make environments; install its venv package (Debian: apt install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/python -m pip install --quiet --requirement requirements.lock
	$(VENV)/bin/python -m pip install --quiet --no-deps --editable .
	touch $@

clean:
	rm -rf $(VENV) .smoke .slurm-test .rehearsal .site build *.egg-info .mypy_cache .ruff_cache .hypothesis
