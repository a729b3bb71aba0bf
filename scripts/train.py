"""Train one agent on one task: a built-in one, or your model, prompts and reward.

    python scripts/train.py --task reviews --agent ppo --episodes 4096 --out runs/a
    python scripts/train.py --model my-model --prompts stories.jsonl --prompt-sentences 1 \
        --ratings ratings.jsonl --agent ppo --kl-coef 0.05 --max-new-tokens 48 --out runs/b
    python scripts/train.py --model my-model --prompts prompts.txt --reward my_reward.py:score

The same command again continues an interrupted one.
"""

from __future__ import annotations

from studies.cli.entry import launch

if __name__ == "__main__":
    launch("train")
