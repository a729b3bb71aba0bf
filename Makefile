# Every target sets up what it needs: the first call on a fresh machine creates .venv and installs once.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.installed
WITH_RAY := $(VENV)/.installed-ray
LOWEST := .venv-lowest
ALL    := .venv-all
RLLIB  := .venv-rllib
EXCHANGE := .venv-exchange
# Checkers, stepping, the exact solver, PPO, GRPO, adapters, checkpoints, rewards, reports.
LOWEST_TESTS := tests/rlhf_env/test_checkers.py tests/rlhf_env/test_vector_env.py tests/rlhf_env/exact \
	tests/rlhf_env/rewards/metrics tests/rlhf_env/rewards/test_text_regression.py tests/wrappers/test_macro_action.py \
	tests/agents/test_stable_baselines3.py tests/agents/training/test_lora.py tests/agents/training/test_checkpoint.py \
	tests/agents/algorithms/test_grpo.py tests/agents/algorithms/test_ppo.py \
	tests/studies/experiment/test_grid.py tests/studies/statistics tests/studies/reporting/test_report.py
# Tests that `make test` skips for want of a library, or of the real data in ../shared/data.
RAY_TESTS := tests/studies/execution/test_real_ray.py
ALL_TESTS := tests/peers tests/clients $(RAY_TESTS) tests/agents/processes \
	tests/rlhf_env/rewards/feedback tests/rlhf_env/rewards/test_lexicon.py \
	tests/rlhf_env/rewards/test_text_regression.py tests/studies/training/test_command.py \
	tests/agents/replay/test_minari.py

.PHONY: demo docs test test-slow test-lowest test-all test-rllib test-exchange lint format setup clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

demo: $(READY)  ## when discount and density matter: two families of tasks at three horizons, and their report
	$(BIN)/python scripts/ablate.py --task delay chain --horizon 4 16 64 --policy table --task-options vocab_size=4 \
		--agent reinforce --learning-rate 0.25 --gamma 0.9 1.0 --density terminal every_1 --granularity token \
		--updates 60 --eval-episodes 64 --out runs/demo

test: $(READY)  ## the quick tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not slow' -n 2

# Its tests start a Ray cluster of their own.
$(WITH_RAY): $(READY) constraints-peers.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -c constraints-peers.txt --editable '.[dev,ray]'
	touch $(WITH_RAY)

test-slow: $(WITH_RAY)  ## the tests that take minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow -n 2 --ignore $(RAY_TESTS)
	$(BIN)/python -m pytest -m slow $(RAY_TESTS)

$(LOWEST)/.installed: pyproject.toml constraints-lowest.txt
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --constraint constraints-lowest.txt \
		--editable '.[studies,lora]' pytest pytest-timeout hypothesis
	touch $(LOWEST)/.installed

test-lowest: $(LOWEST)/.installed  ## a quick subset with the lowest declared versions
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -m "not slow" \
		-W default::DeprecationWarning $(LOWEST_TESTS)

# torch comes from constraints.txt. tianshou asks for pandas < 3, and what the tests use of it works with
# ours, so its requirements are not resolved with the rest.
$(ALL)/.installed: pyproject.toml constraints.txt constraints-peers.txt
	$(PYTHON) -m venv $(ALL)
	$(ALL)/bin/python -m pip install --quiet -c constraints.txt -c constraints-peers.txt \
		--editable '.[dev,ray]' trl sb3-contrib torchrl tensordict 'minari[create,hdf5]' \
		array-api-compat deepdiff numba overrides pettingzoo sensai-utils
	$(ALL)/bin/python -m pip install --quiet --no-deps -c constraints-peers.txt tianshou
	touch $(ALL)/.installed

test-all: $(ALL)/.installed test-rllib  ## what needs other libraries, a Ray cluster or the real data
	OMP_NUM_THREADS=1 $(ALL)/bin/python -m pytest $(ALL_TESTS)

# RLlib pins Gymnasium 1.2.2, so it has an environment of its own: constraints.txt but for that line.
$(RLLIB)/.installed: pyproject.toml constraints.txt constraints-peers.txt constraints-rllib.txt
	$(PYTHON) -m venv $(RLLIB)
	grep -v '^gymnasium==' constraints.txt > $(RLLIB)/constraints.txt
	$(RLLIB)/bin/python -m pip install --quiet -c $(RLLIB)/constraints.txt -c constraints-peers.txt \
		-c constraints-rllib.txt --editable . 'ray[rllib]' pytest pytest-timeout
	touch $(RLLIB)/.installed

test-rllib: $(RLLIB)/.installed  ## RLlib on the environment
	OMP_NUM_THREADS=1 $(RLLIB)/bin/python -m pytest tests/clients/test_rllib.py

# OpenEnv asks for gradio, which asks for pillow < 13, so it has an environment of its own too.
$(EXCHANGE)/.installed: pyproject.toml constraints.txt constraints-peers.txt constraints-exchange.txt
	$(PYTHON) -m venv $(EXCHANGE)
	grep -v '^pillow==' constraints.txt > $(EXCHANGE)/constraints.txt
	$(EXCHANGE)/bin/python -m pip install --quiet -c $(EXCHANGE)/constraints.txt -c constraints-peers.txt \
		-c constraints-exchange.txt --editable '.[openenv,reasoning]' pytest pytest-timeout
	touch $(EXCHANGE)/.installed

test-exchange: $(EXCHANGE)/.installed  ## OpenEnv and reasoning-gym
	OMP_NUM_THREADS=1 $(EXCHANGE)/bin/python -m pytest tests/clients/test_openenv.py \
		tests/rlhf_env/tasks/test_reasoning.py tests/docs/test_exchange_page.py

docs: $(READY)  ## the site, in build/site; warnings are errors
	$(BIN)/sphinx-build --quiet --fresh-env -W --keep-going -b html -c docs . build/site

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/deptry rlhf_env agents wrappers studies scripts

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(LOWEST) $(ALL) $(RLLIB) $(EXCHANGE) runs build docs/api
