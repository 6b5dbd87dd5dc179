# make results/table1.csv    one result, with all it needs (any target of the workflow works)
# make all                   every table and figure
# make smoke                 the whole workflow in miniature, in .smoke/
# make rehearsal             the paper's run at full size on noise and random weights, in .rehearsal/: 20 GB of memory,
#                            12 GB of disk; MMEDIT=folder takes MMEdit's annotations, REHEARSAL=--tiny a tiny backbone
# make test | check | clean  tests | linters and types | remove the environment and all caches, never results/
#
# CORES=4 jobs side by side; PYTHON=python3.12 makes the environment; SNAKEMAKE_ARGS="--configfile my.yaml -n" goes on
# to Snakemake.

PYTHON ?= python3
CORES ?= $(shell nproc 2>/dev/null || echo 1)
SNAKEMAKE_ARGS ?=
MMEDIT ?=
REHEARSAL ?=

VENV := .venv
READY := $(VENV)/.ready
SNAKEMAKE = $(VENV)/bin/snakemake --workflow-profile profiles/local --cores $(CORES)

.PHONY: all smoke rehearsal test check clean FORCE
.DEFAULT_GOAL := all
.NOTPARALLEL:

all: $(READY)
	$(SNAKEMAKE) $(SNAKEMAKE_ARGS)

# Snakemake knows what is out of date, so it is always asked.
results/%: $(READY) FORCE
	$(SNAKEMAKE) $(SNAKEMAKE_ARGS) -- $@

FORCE:

smoke: $(READY)
	$(SNAKEMAKE) --directory .smoke --configfile presets/smoke.yaml $(SNAKEMAKE_ARGS)

rehearsal: $(READY)
	$(VENV)/bin/python tools/rehearsal.py prepare .rehearsal $(REHEARSAL) $(if $(MMEDIT),--annotations $(MMEDIT))
	$(VENV)/bin/snakemake --workflow-profile profiles/local --cores 2 --directory .rehearsal \
		--config preset=paper,rehearsal $(SNAKEMAKE_ARGS)
	$(VENV)/bin/python tools/rehearsal.py costs .rehearsal

test: $(READY)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 --dist loadfile

check: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/snakefmt --check --line-length 120 Snakefile rules

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
	rm -rf $(VENV) .smoke .rehearsal build *.egg-info .mypy_cache .ruff_cache .hypothesis
