# Two commands: `make book` builds the website, `make test` runs everything. Each makes what it needs.
# GNU make. Without make (Windows), README.md gives the same steps with pip.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

# What a notebook prints must not depend on the number of cores; and two test processes share them.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 VECLIB_MAXIMUM_THREADS=1

# pip compiles nothing ahead (below), so the first import has to keep what it compiles, whatever the shell asks for:
# each notebook's kernel would compile everything again, and start in 12 seconds instead of 5.
unexport PYTHONDONTWRITEBYTECODE

help:
	@echo "make book                 build the website from the stored outputs, into _build/html"
	@echo "make test                 run every notebook and every test but the long fuzz"
	@echo "make jupyter              open the notebooks in JupyterLab"
	@echo "make chapter NAME=losses  export a chapter's module, run the chapter and all that imports it"
	@echo "make steady NAME=losses   run a chapter under other kernels, threads and seeds"
	@echo "make drift                the whole book under other kernels, threads and versions, for hours"
	@echo "make mutants NAME=losses  do the tests notice a changed library? (needs mutmut)"
	@echo "make fuzz NAME=losses     thousands of random inputs (EXAMPLES=10000 for each public name)"
	@echo "make record               write the record of this device: errors, tolerances, claims, seconds"
	@echo "make speed                layers, losses, optimizers, steps beside PyTorch's, in under five minutes"
	@echo "make replicate            run every notebook with 30 seeds, for hours (SEEDS=1-5 NAME=losses)"
	@echo "make serve                show the website at http://127.0.0.1:8000 (PORT=8000)"
	@echo "make pins                 write requirements.txt from requirements.in, and its hashes (needs uv)"
	@echo "make lock                 write the hashes of requirements.txt into requirements.lock (needs uv)"
	@echo "make vendor               fetch KaTeX's style sheet and fonts again (needs npm)"
	@echo "make pdf                  one PDF of the whole book (needs Chromium)"
	@echo "make epub                 the book as an e-book, checked (the check needs Java)"
	@echo "make clean                remove the environment and everything that was built"

# The file $(READY) stands for a finished installation; pip stops before it is made if anything fails.
# Everything but PyTorch, its CUDA packages and hatchling, which installs byhand, is held to its hash, and comes as
# a wheel.
# Modules are compiled when they are first imported: most of the packages' modules never are, and that was half the time.
$(READY): requirements.txt requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make … PYTHON=/path/to/python3.11"; exit 1; }
	@rm -f $(READY)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --no-compile --require-hashes --only-binary :all: --no-deps -r requirements.lock
	$(BIN)/python -m pip install --no-compile -r requirements.txt -e .
	@touch $(READY)

book: $(READY)
	@rm -f _build/html/.complete
	$(BIN)/jupyter-book build . --all -W --keep-going -n
	@touch _build/html/.complete  # the tests of the website look at it, and build no second one
	@echo "The book: $(CURDIR)/_build/html/index.html"

# A browser is needed for the tests of the website; without one they are skipped, but for CI=true.
test: $(READY)
	$(BIN)/ruff check .
	$(ONE_THREAD) $(BIN)/pytest --nbval book tests -n 2 --dist loadfile

# what only seems to hold: the same notebooks under other kernels, threads and seeds
steady: $(READY)
	$(BIN)/python tests/steady.py $(or $(NAME),$(error make steady NAME=losses))

# the whole book so, and with the oldest versions under the oldest Python and the newest under every one that uv can
# get: for hours, but it goes on where it was ended. ONLY=oldest takes the runs with this in their name, TIMES=5
# repeats the first strict one
drift: $(READY)
	nice $(BIN)/python tests/drift.py $(if $(ONLY),--only "$(ONLY)") $(if $(TIMES),--times $(TIMES))

# mutants of a module, or without NAME of all (half an hour): what no test notices is listed. mutmut
# (needs fork: Linux, macOS) is no part of the environment: pip install mutmut==3.8.1
mutants: $(READY)
	nice $(BIN)/python tests/mutants.py $(NAME)

# random input, without NAME to all modules (hours: EXAMPLES=100 for minutes); a failure names its seed,
# and `make fuzz NAME=… BYHAND_SEED=…` repeats it
fuzz: $(READY)
	BYHAND_FUZZ=$(or $(EXAMPLES),10000) $(ONE_THREAD) $(BIN)/pytest tests/test_fuzz.py -q -n 2 -m slow \
		$(if $(NAME),-k "[$(NAME).")

# every check and claim on the device at hand, into book/record/<device>.json
record: $(READY)
	rm -rf _build/record _build/usage/stored && mkdir -p _build/record
	-BYHAND_RECORD=$(CURDIR)/_build/record/lines.jsonl $(ONE_THREAD) \
		$(BIN)/pytest --nbval book -q -p no:cacheprovider -n 2 --dist loadfile
	$(BIN)/python book/_ext/record.py _build/record/lines.jsonl book/record
	$(BIN)/python book/_ext/usage.py _build/usage book/record/notebooks.json

# ours against PyTorch, scikit-learn and SciPy, side by side: best on a calm machine, and nothing fails on a slow one
speed: $(READY)
	$(BIN)/python benchmarks/speed.py book/record/speed.json

# how often the claims hold: it goes on where it was ended, and counts what is there
replicate: $(READY)
	-$(BIN)/byhand-replicate --seeds $(or $(SEEDS),1-30) $(if $(NAME),--only $(NAME))
	$(BIN)/byhand-replicate --seeds $(or $(SEEDS),1-30) $(if $(NAME),--only $(NAME)) --summary

jupyter: $(READY)
	$(BIN)/jupyter-lab book

pdf: book
	$(BIN)/python book/_ext/pdf.py _build/html _build/book.pdf

# the site offers it, too; EPUBCheck judges it where there is a Java
epub: book
	cp _build/html/deep-learning-by-hand.epub _build/
	@if command -v java > /dev/null; then $(BIN)/epubcheck _build/deep-learning-by-hand.epub; \
		else echo "no java here: not checked"; fi
	@echo "The e-book: $(CURDIR)/_build/deep-learning-by-hand.epub"

PORT ?= 8000
serve: $(READY)
	@test -f _build/html/index.html || $(MAKE) book
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory _build/html $(PORT)

# make chapter: the module first, since the lecture may import others that import it; then the lecture and its
# questions; then each notebook that imports the module, or a module that imports it, and so on.
users      = $(patsubst byhand/%.py,%,$(shell grep -lE '^ *from (byhand)?\.$(1) import' byhand/*.py))
reach      = $(1) $(foreach module,$(call users,$(1)),$(call reach,$(module)))
empty     :=
either     = ($(subst $(empty) ,|,$(sort $(call reach,$(NAME)))))
own        = $(wildcard book/$(NAME).ipynb book/questions/$(NAME).ipynb)
importers  = $(shell grep -lwE '(from|import) byhand\.$(either)|from byhand import .*$(either)' $(wildcard book/*.ipynb book/questions/*.ipynb))
notebooks  = $(own) $(filter-out $(own),$(importers))
# nothing of the machine or the moment stays in a notebook; outputs, counts and the widgets' state do
STRIP     := --keep-output --keep-count --keep-id --keep-metadata-keys metadata.widgets --extra-keys "metadata.papermill \
	metadata.jupytext metadata.language_info.version cell.metadata.papermill cell.metadata.execution"

chapter: $(READY)
	$(if $(own),,$(error there is no book/$(NAME).ipynb and no book/questions/$(NAME).ipynb: make chapter NAME=losses))
	$(if $(wildcard book/$(NAME).ipynb),$(BIN)/nb-export book/$(NAME).ipynb)
	@mkdir -p _build/chapter
	@set -e; for notebook in $(notebooks); do \
		echo "== $$notebook"; \
		$(ONE_THREAD) $(BIN)/papermill --kernel python3 --cwd "$${notebook%/*}" "$$notebook" _build/chapter/executed.ipynb; \
		$(BIN)/nbstripout $(STRIP) _build/chapter/executed.ipynb; \
		mv _build/chapter/executed.ipynb "$$notebook"; \
	done

# CUDA's packages are left out of requirements.txt, so that it serves the CPU and the CUDA builds of PyTorch.
CUDA := triton cuda-bindings cuda-pathfinder cuda-toolkit $(addprefix nvidia-,cublas cuda-cupti cuda-nvrtc cuda-runtime \
	cudnn-cu13 cufft cufile curand cusolver cusparse cusparselt-cu13 nccl-cu13 nvjitlink nvshmem-cu13 nvtx)

COMPILE := uv pip compile --universal --python-version 3.11 --no-annotate --no-emit-index-url --no-emit-find-links

pins:
	$(COMPILE) --upgrade --custom-compile-command "make pins" $(addprefix --no-emit-package ,$(CUDA)) \
		requirements.in -o requirements.txt
	$(MAKE) lock

# the hashes of what requirements.txt names. Not PyTorch's: its builds for the CPU and for CUDA have one version
# and lie in two places.
lock:
	rm -f requirements.lock
	$(COMPILE) --custom-compile-command "make lock" --no-deps --generate-hashes --no-emit-package torch \
		requirements.txt -o requirements.lock

vendor:
	$(PYTHON) vendor-src/refresh.py

clean:
	rm -rf _build $(VENV) .pytest_cache .hypothesis .ipynb_checkpoints

.PHONY: help book test jupyter serve chapter record pdf epub pins lock vendor clean
.PHONY: steady drift mutants fuzz speed replicate
