# make demo    a picture of what the sample model's class "rings" looks for
# make test    the tests
# make lint    ruff, mypy, import-linter
# make converters   the tests of converters/, each framework in an environment of its own (3 GB, the first time)
# make clean   remove what these made, their virtual environments included
#
# Each makes the virtual environment that it needs with PYTHON (3.11 or newer), at the versions of constraints.txt.

PYTHON ?= python3
PYTEST_ARGS ?=

MAKEFLAGS += --no-print-directory
PICTURE := demo/rings.png

FRAMEWORKS := jax paddle sklearn tensorflow

.PHONY: help demo test lint converters clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

demo: .venv-demo/installed
	@mkdir -p $(dir $(PICTURE))
	.venv-demo/bin/onnxvis visualize samples/textures.onnx --node logits --filter rings -o $(PICTURE)
	@echo "The picture: $(CURDIR)/$(PICTURE)"

test: .venv-test/installed
	OMP_NUM_THREADS=1 .venv-test/bin/python -m pytest -n 2 --dist worksteal --ignore tests/converters $(PYTEST_ARGS)

lint: .venv-lint/installed
	.venv-lint/bin/ruff check
	.venv-lint/bin/ruff format --check
	.venv-lint/bin/mypy
	.venv-lint/bin/lint-imports --no-logo

converters: .venv-test/installed $(FRAMEWORKS:%=.venv-%/installed)
	OMP_NUM_THREADS=1 .venv-test/bin/python -m pytest -n 2 --dist loadgroup tests/converters $(PYTEST_ARGS)

clean:
	rm -rf .venv-demo .venv-test .venv-lint $(FRAMEWORKS:%=.venv-%) demo dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find converters onnxvis samples tests -name __pycache__ -type d -prune -exec rm -rf {} +

.venv-jax/installed: SCRIPTS := converters/from_jax.py
.venv-paddle/installed: SCRIPTS := converters/from_paddle.py
.venv-sklearn/installed: SCRIPTS := converters/from_sklearn.py
.venv-tensorflow/installed: SCRIPTS := converters/from_keras.py converters/from_tensorflow.py converters/from_tflite.py

# What a converter needs stands in its own first lines.
$(FRAMEWORKS:%=.venv-%/installed): .venv-%/installed: converters/requirements.py $(wildcard converters/from_*.py)
	@rm -rf .venv-$*
	@echo "Installing into .venv-$* (some minutes, the first time)"
	@$(PYTHON) -m venv .venv-$*
	@$(PYTHON) converters/requirements.py $(SCRIPTS) > .venv-$*/requirements.txt
	@.venv-$*/bin/python -m pip --disable-pip-version-check install -qq -r .venv-$*/requirements.txt
	@touch $@

.venv-demo/installed: EXTRAS :=
.venv-test/installed: EXTRAS := [test]
.venv-lint/installed: EXTRAS := [test,lint]

# The stamp is written last: where it is missing, the environment is none or half of one, and is made anew.
# Torch comes first and alone, so that what depends on it takes it as it is; the build backend comes
# before the package, so that it too has the version of constraints.txt.
.venv-%/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo 'onnxvis needs Python 3.11 or newer, and "$(PYTHON)" is not: name one, as in "make $(MAKECMDGOALS) PYTHON=python3.12"' >&2; exit 1; }
	@test -e $@ || rm -rf .venv-$*
	@rm -f $@
	@echo "Installing into .venv-$* (a minute or two, the first time)"
	@$(PYTHON) -m venv .venv-$*
	@install='.venv-$*/bin/python -m pip --disable-pip-version-check install -qq -c constraints.txt'; \
	set -e; $$install torch; $$install hatchling editables; $$install --no-build-isolation -e '.$(EXTRAS)'
	@touch $@
