"""Claims about estimators of the policy gradient: baselines, clips, KL, normalization."""
