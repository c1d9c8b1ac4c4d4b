# make demo   train on the embedded stories for at most 90 seconds, then open the web page (SERVE=0: do not; PORT=5001: there)
# make test   install what the tests need and run all of them
# make lint   check the style of the code, look for insecure code and for known vulnerabilities of what is installed
PYTHON  ?= python3
VENV    ?= .venv
BIN      = $(VENV)/bin
SERVE   ?= 1
MINUTES ?= 1.5
PORT    ?= 5000

.PHONY: demo test lint clean

demo: $(VENV)/.installed
	$(BIN)/unrolled train builtin:stories --preset demo --minutes $(MINUTES) --out runs/demo --force
ifneq ($(SERVE),0)
	$(BIN)/unrolled serve runs/demo builtin:stories --port $(PORT)
endif

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/bandit --quiet --recursive src app benchmarks hatch_build.py .ci/audit 2>/dev/null
	$(BIN)/python .ci/audit requirements.lock requirements-test.lock

clean:
	rm -rf $(VENV) runs/demo

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 10) else "unrolled needs Python 3.10 or newer; try: make PYTHON=python3.12 demo")'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.installed: $(VENV)/bin/python requirements.lock pyproject.toml hatch_build.py $(wildcard src/unrolled/native/csrc/*.[ch])
	@echo "Installing into $(VENV): this happens once and takes a minute or two."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed requirements-test.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-test.lock
	@touch $@
