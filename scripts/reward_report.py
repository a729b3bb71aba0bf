"""Train a reward model on people's judgments and say how good it is on prompts it never saw.

python scripts/reward_report.py --data train.jsonl.gz --test test.jsonl.gz --out runs/pairs
python scripts/reward_report.py --data train.jsonl.gz --test test.jsonl.gz --model my-model \
        --field prompt= response=text rating=mean --out runs/ratings
python scripts/reward_report.py --data train.jsonl.gz --test test.jsonl.gz \
        --reward runs/reward --also llmbar.jsonl.gz --out runs/report
"""

from __future__ import annotations

from studies.cli.entry import launch

if __name__ == "__main__":
    launch("reward_report")
