"""Write a saved agent's policy as a Hugging Face model folder, or its adapter for peft.

python scripts/export.py runs/a --out my-model
python scripts/export.py runs/a --adapter --out my-adapter
"""

from __future__ import annotations

from studies.cli.entry import launch

if __name__ == "__main__":
    launch("export")
