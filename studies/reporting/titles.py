"""What figures call the columns of the curves and of the results."""

# Before a setting's value in the name of a line.
SYMBOLS = {
    "gamma": "γ",
    "gae_lambda": "λ",
    "kl_coef": "β",
    "group_size": "G",
    "preference_pairs": "pairs",
    "importance": "importance",
    "staleness": "staleness",
    "replay_ratio": "replay",
}
# In sentences, and where there is room.
TITLES = {
    "j_ratio": "J / J* (1 = the exact optimum)",
    "regret": "Regret J* − J",
    "score": "Score (proxy reward)",
    "gold": "Gold score",
    "kl": "KL of the policy to the reference (nats per response)",
    "entropy": "Entropy of the policy (nats per token)",
    "response_length": "Response length (tokens)",
}
# At the side of a panel.
LABELS = {
    "j_ratio": "J / J*",
    "regret": "J* − J",
    "score": "score",
    "gold": "gold",
    "kl": "KL (nats / response)",
    "entropy": "entropy (nats / token)",
    "response_length": "length (tokens)",
}
