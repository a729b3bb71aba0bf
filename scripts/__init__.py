"""What a person runs: ablations and their report. Short: parse, build, run; no formula of RLHF."""
