# make setup   the tested stack in .venv            (about 5 minutes the first time)
# make train   plain VPD and Domino on the embedded world (about 9 minutes on 2 cores)
# make detect  a detector with and without Domino   (under 5 minutes on 2 cores)
# make test    the test suite                       (under 12 minutes on 2 cores)
# make bench   the paper's questions in miniature   (hours on 2 cores; goes on if stopped)
# make lint, make docs: what they say
# Each does what it needs by itself and is quick the second time.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.10 || echo python3)
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
CONSTRAINTS := requirements/constraints.txt

.PHONY: setup train detect test test-versions bench lint docs clean help

help:
	@sed -n 's/^# //p' Makefile | head -8

setup: $(STAMP)

$(STAMP): setup.py pyproject.toml street_world/pyproject.toml $(wildcard requirements/*.txt)
	@echo "==> Installing the tested stack into $(VENV) with $(PYTHON) (about 5 GB, about 5 minutes)"
	@start=$$(date +%s); set -e; \
	test -x $(PY) || $(PYTHON) -m venv $(VENV); \
	$(PY) -m pip install -qq --upgrade pip; \
	$(PY) -m pip install -qq -c $(CONSTRAINTS) "setuptools<81" wheel; \
	echo "    the runtime (PyTorch first: the largest download)"; \
	$(PY) -m pip install -qq -c $(CONSTRAINTS) -r requirements/runtime.txt; \
	echo "    MMSegmentation, its foundations and mmdet, without compiled operators"; \
	MMCV_WITH_OPS=0 $(PY) -m pip install -qq -c $(CONSTRAINTS) -r requirements/onedl.txt; \
	: "without dependencies: imaug asks for an OpenCV before 4.13 and works with 5"; \
	$(PY) -m pip install -qq -c $(CONSTRAINTS) --no-deps --no-build-isolation -r requirements/detection.txt; \
	echo "    test tools and this package in development mode"; \
	$(PY) -m pip install -qq -c $(CONSTRAINTS) -r requirements/tests.txt -r requirements/corruptions.txt; \
	: "an oracle of the metric, without its outdated dependencies"; \
	$(PY) -m pip install -qq -c $(CONSTRAINTS) --no-deps cityscapesScripts pyquaternion appdirs; \
	$(PY) -m pip install -qq --no-build-isolation --no-deps --editable . --editable ./street_world; \
	$(PY) -c "import mmseg, mmpretrain, diffusers, open_clip, mmseg_domino.plugin" >/dev/null 2>&1; \
	touch $@; echo "==> Installed in $$(( $$(date +%s) - start )) s"

# One thread each, side by side; `wait` for each tells whether it succeeded.
MINI := vpd_mini domino_vpd_mini

train: $(STAMP)
	@echo "==> Training plain VPD and Domino on the embedded street world, then testing on five domains"
	@start=$$(date +%s); set -e; export OMP_NUM_THREADS=1; \
	$(PY) -m street_world --root data/mini; \
	if ! test data/mini/domains.safetensors -nt data/mini/street_world.json; then \
		rm -f data/mini/domains.safetensors; \
		$(VENV)/bin/domino domains extract configs/domino_vpd_mini.py; \
	fi; \
	jobs=; for name in $(MINI); do \
		work=work_dirs/$$name; mkdir -p $$work; \
		echo "    $$name: $$work/make.log"; \
		( $(VENV)/bin/domino train configs/$$name.py --work-dir $$work && \
		  $(VENV)/bin/domino test configs/$$name.py "$$(cat $$work/last_checkpoint)" --work-dir $$work \
		) > $$work/make.log 2>&1 & jobs="$$jobs $$!"; \
	done; \
	for job in $$jobs; do wait $$job || { tail -n 30 work_dirs/*/make.log; exit 1; }; done; \
	$(VENV)/bin/domino report $(MINI:%=work_dirs/%) --out work_dirs/mini --title "Plain VPD and Domino"; \
	echo "==> Done in $$(( $$(date +%s) - start )) s"

detect: $(STAMP)
	@echo "==> Mask R-CNN with and without Domino on the street world, tested on five domains"
	@OMP_NUM_THREADS=1 $(PY) -m benchmarks.detection

test: $(STAMP)
	@echo "==> Running the test suite (2 cores, no GPU, no network; under 12 minutes)"
	@OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile --durations=10

# What depends most on PyTorch, on the oldest and the newest that the package works with: each has
# an environment of its own (about 5 GB), in which the rest of the tested stack is that of .venv.
# Remove .venv-torch-newest to have it made again with what is the newest then.
VERSION_TESTS := tests/models/kernels tests/models/layers tests/models/heads \
	tests/models/backbones/test_vpd.py tests/operators/test_recorded.py \
	tests/operators/test_stand_ins.py tests/test_fake_cuda.py tests/apps/test_export.py

test-versions: $(STAMP)
	@set -e; site=$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
	for name in oldest newest; do \
		env=$(VENV)-torch-$$name; pins="torch torchvision"; \
		if test $$name = oldest; then pins="torch==2.6.0 torchvision==0.21.0"; fi; \
		if ! test -f $$env/.installed; then \
			$(PY) -m venv --without-pip $$env; \
			$(PY) -m pip --python $$env/bin/python install -qq $$pins; \
			own=$$($$env/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
			echo "import site; site.addsitedir('$$site')" > $$own/zz_stack.pth; \
			touch $$env/.installed; \
		fi; \
		echo "==> PyTorch $$($$env/bin/python -c 'import torch; print(torch.__version__)')"; \
		OMP_NUM_THREADS=1 $$env/bin/python -m pytest $(VERSION_TESTS); \
	done

bench: $(STAMP)
	@$(PY) -m benchmarks.paper

lint: $(STAMP)
	@$(PY) -m ruff check . && $(PY) -m ruff format --check .

docs: $(STAMP)
	@$(PY) -m pip install -qq -c $(CONSTRAINTS) -r requirements/docs.txt
	@$(PY) -W ignore -m sphinx -W --keep-going -q -b html docs docs/_build
	@echo "==> docs/_build/index.html"

clean:
	rm -rf work_dirs data/mini build dist docs/_build *.egg-info
