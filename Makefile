# make demo | test | test-oldest | check | docs | table | fuzz | mutants
#
# Each target makes the environment .venv that it runs in. That needs python3 and a Python package
# index. Another index is set with pip's own variables (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL,
# PIP_FIND_LINKS) or pip's configuration.
# PYTHON=/path/to/python uses that environment instead. Then nothing is made and nothing installed.

VENV := .venv
STAMP := $(VENV)/.installed
PIP_INSTALL = $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
	-c constraints-cpu.txt -e

ifdef PYTHON
READY :=
TOOLS :=
else
PYTHON := $(VENV)/bin/python
READY := $(STAMP)
TOOLS := $(VENV)/.mutants
endif

export PYTHONPATH := $(CURDIR)/src$(if $(PYTHONPATH),:$(PYTHONPATH))

.PHONY: demo test test-oldest check docs table fuzz mutants
.DEFAULT_GOAL := demo

demo: $(READY)
	$(PYTHON) -m deepservo demo --out demo

# PASSIVE lets idle OpenMP threads sleep: spinning threads slow short tests down.
test: $(READY)
	OMP_WAIT_POLICY=PASSIVE $(PYTHON) -m pytest -n auto

check: $(READY)
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy

# Reading, drawing and servoing are tested with the oldest versions that pyproject.toml allows.
# It takes minutes, in an environment of its own.
OLDEST := .venv-oldest
OLDEST_TESTS := $(addprefix tests/, test_camera.py \
	images/test_camera_file.py images/test_refused_camera_files.py images/test_rectify.py \
	images/test_lens.py images/test_picture_files.py images/test_picture_layouts.py \
	images/test_pictures.py images/test_sampler.py system/test_memory.py \
	worlds/test_mesh_files.py worlds/test_mesh_textures.py worlds/test_mesh_drawing.py \
	worlds/test_target.py worlds/test_gantry.py cli/test_view.py cli/test_command_words.py \
	cli/test_cli.py methods/test_misuse.py report/test_report.py features/test_unseen_pixels.py \
	features/test_registration.py features/test_registration_steps.py features/test_agreement.py)

test-oldest: $(OLDEST)/.installed
	OMP_WAIT_POLICY=PASSIVE $(OLDEST)/bin/python -m pytest -n auto $(OLDEST_TESTS)

$(OLDEST)/.installed: pyproject.toml tests/oldest.py
	@test -x $(OLDEST)/bin/python || python3 -m venv $(OLDEST)
	@python3 tests/oldest.py > $(OLDEST)/oldest.txt
	@$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check \
		-r $(OLDEST)/oldest.txt hypothesis==6.170.15 pytest==9.2.0 pytest-xdist==3.8.0
	@touch $@

# The documentation's site is built in build/site. A broken link or an unknown name is an error.
docs: $(READY) $(if $(READY),$(VENV)/.docs)
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --quiet --strict

$(VENV)/.docs: $(STAMP)
	@$(PIP_INSTALL) '.[docs]'
	@touch $@

table: $(READY)
	$(PYTHON) -m benchmarks table --write

# Twenty thousand mutated inputs are tried in at most twenty minutes on two cores.
# SECONDS=120 tries as many as two minutes allow.
SECONDS := 1200
fuzz: $(READY) $(if $(READY),$(VENV)/.fuzz)
	$(PYTHON) -m benchmarks fuzz --seconds $(SECONDS)

# Where Atheris cannot be installed the fuzzer runs without coverage, and says so.
$(VENV)/.fuzz: $(STAMP)
	@$(PIP_INSTALL) '.[fuzz]' || true
	@touch $@

# Faults are put into the source one at a time, and the tests must find them. It takes up to two
# hours on two cores, and continues where it was stopped.
mutants: $(READY) $(TOOLS)
	OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=1 $(PYTHON) -m benchmarks mutants
	$(PYTHON) -m benchmarks table --write

$(VENV)/.mutants: $(STAMP)
	@$(PIP_INSTALL) '.[mutants]'
	@touch $@

$(STAMP): pyproject.toml constraints-cpu.txt
	@echo "installing into $(VENV): a few minutes, once"
	@test -x $(VENV)/bin/python || python3 -m venv $(VENV)
	@$(PIP_INSTALL) '.[dev]'
	@touch $@
