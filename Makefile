PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt
# A process for each core, of one thread each: what the tests compute is too small to share a core's work.
# In the order of the folders: by the number of tests, the files of a few long ones would come last, and run alone.
PARALLEL := --numprocesses auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder
# What the C++ kernels are built from: an installation is out of date when one of them has changed.
KERNELS := setup.py $(wildcard src/depthattn/ops/*/*.cpp src/depthattn/ops/*/*.h)

.PHONY: demo test test-slow test-flush test-package test-compat sanitize fuzz lint bench mutate docs clean

demo: $(VENV)/.demo
	$(BIN)/python examples/train_nyu.py --output runs/demo --overwrite

test: export OMP_NUM_THREADS = 1
test: $(VENV)/.dev
	$(BIN)/python -m pytest $(PARALLEL)

# What takes minutes: compilers, and torchrun, whose processes each import everything.
test-slow: export OMP_NUM_THREADS = 1
test-slow: $(VENV)/.dev
	$(BIN)/python -m pytest $(PARALLEL) -m slow

# The operators once more on a processor that takes denormals for 0; the tests of exp and log have cases of their own.
test-flush: export OMP_NUM_THREADS = 1
test-flush: $(VENV)/.dev
	$(BIN)/python -m pytest $(PARALLEL) --flush-denormal tests/ops tests/layers tests/losses \
		--ignore tests/ops/test_native_math.py -k "not triton and not compile"

# An sdist and a wheel, the wheel in an empty environment, and whether every extra installs: minutes and a gigabyte.
test-package: $(VENV)/.dev
	$(BIN)/python -m tests.package

# The oldest PyTorch that is supported, one in between and the newest there is, with the packages that fit them.
test-compat: export OMP_NUM_THREADS = 1
test-compat:
	$(PYTHON) -m tests.compat $(PARALLEL) $(ARGS)

# The operators' tests on kernels that check every address and every conversion, built into a place of their own.
CHECKED := build/sanitize
SANITIZERS := address,undefined
# Not exported: a prerequisite would inherit them, and the installation be built with checks too.
CHECKS := -O1 -g -fno-omit-frame-pointer -fsanitize=$(SANITIZERS) -fno-sanitize-recover=all
sanitize: $(VENV)/.dev
	env DEPTHATTN_BUILD_NATIVE=1 DEPTHATTN_CXXFLAGS="$(CHECKS)" \
		$(BIN)/python setup.py --quiet build --build-lib $(CHECKED)/lib --build-temp $(CHECKED)/temp
	env OMP_NUM_THREADS=2 PYTHONPATH=$(CHECKED)/lib ASAN_OPTIONS=detect_leaks=0:symbolize=1 \
		LD_PRELOAD="$$(c++ -print-file-name=libasan.so) $$(c++ -print-file-name=libubsan.so)" \
		$(BIN)/python -m pytest -p no:cacheprovider \
		tests/ops/test_native_math.py tests/ops/test_*_kernels.py tests/ops/test_golden.py tests/ops/test_invalid.py \
		tests/ops/test_accuracy.py -k "not triton" $(ARGS)

# Hours: 10,000 examples of each property of each operation, and as many damaged files of each kind.
fuzz: export OMP_NUM_THREADS = 1
fuzz: $(VENV)/.dev
	$(BIN)/python -m pytest tests/properties --hypothesis-profile=fuzz -v
	$(BIN)/python -m tests.files

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/run.py --quick

# Hours on two cores; ARGS names some mutants, as in make mutate ARGS=depth_aware/triton.
mutate: export OMP_NUM_THREADS = 1
mutate: $(VENV)/.dev
	$(BIN)/python -m tests.mutation $(ARGS)

# The figures are small: more threads would only wait for each other.
docs: export OMP_NUM_THREADS = 1
docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -nW --keep-going -qE -d docs/_build/doctrees docs docs/_build/html
	$(BIN)/python docs/check_site.py docs/_build/html

clean:
	rm -rf $(VENV) build dist docs/_build docs/gallery docs/reference/generated .pytest_cache .mypy_cache .ruff_cache

$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/pip pyproject.toml constraints.txt $(KERNELS)
	@echo "installing depthattn with its nyu and train extras into $(VENV) ..."
	$(INSTALL) --editable ".[nyu,train]"
	@touch $@

$(VENV)/.docs: $(BIN)/pip pyproject.toml constraints.txt $(KERNELS)
	@echo "installing depthattn with its docs extra into $(VENV) ..."
	$(INSTALL) --editable ".[docs]"
	@touch $@

# Has all that the other two need: the kernels are built once.
$(VENV)/.dev: $(BIN)/pip pyproject.toml constraints.txt $(KERNELS)
	@echo "installing depthattn with its dev extra into $(VENV) ..."
	$(INSTALL) --editable ".[dev]"
	@touch $@ $(VENV)/.docs $(VENV)/.demo
