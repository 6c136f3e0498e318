# make demo   set up .venv, train two arms on the demo motions, render a video
# make test   set up .venv, run the tests, files of them side by side
PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
# Installed first; pyproject.toml says which releases will do.
TORCH ?= torch==2.13.0
RUN ?= runs/demo/$(shell date +%Y-%m-%d-%H%M%S)

.PHONY: demo test lint parity

demo: $(VENV)/installed
	$(VENV)/bin/python -m mm_torch.train cfg=demo agent=world_model run.minutes=5 total_steps=1000000 run.dir=$(RUN)
	$(VENV)/bin/python -m mm_torch.play checkpoint=$(RUN)/checkpoints/last.pt video=$(RUN)/demo.mp4
	@echo "policy, logs and video are in $(RUN); curves: $(VENV)/bin/tensorboard --logdir runs"

test: $(VENV)/installed lint
	$(VENV)/bin/python -m pytest -q -m timing
	$(VENV)/bin/python -m pytest -q -m 'not timing' -n $(WORKERS) --dist loadfile

lint: $(VENV)/installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

# The observation and reward of mdp=musclemimic against MuscleMimic's own numbers, under the MuJoCo
# release that made them. Needs the recorded rollouts (MM_TORCH_SHARED, default ../shared).
parity: $(VENV)/installed
	$(VENV)/bin/pip install -q --no-deps --upgrade --target .mujoco-3.4 mujoco==3.4.0
	PYTHONPATH=.mujoco-3.4:. $(VENV)/bin/python -m pytest -q -p no:cacheprovider tests/mm_torch/test_musclemimic_parity.py

$(VENV)/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || (echo "Python 3.11 or newer is needed: make PYTHON=python3.12"; exit 1)
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -q '$(TORCH)'
	$(VENV)/bin/pip install -q -e '.[dev]'
	touch $@
