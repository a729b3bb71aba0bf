"""Train a reward model on what people said about responses.

python scripts/train_reward.py --data pairs.jsonl --model my-model --out runs/reward
python scripts/train_reward.py --data train.jsonl.gz --held-out test.jsonl.gz \
        --field prompt=instruction+input --model my-model --out runs/votes --members 3
python scripts/train_reward.py --data ratings.parquet --field prompt= response=text \
        rating=mean --model my-model --out runs/ratings
"""

from __future__ import annotations

from studies.cli.entry import launch

if __name__ == "__main__":
    launch("train_reward")
