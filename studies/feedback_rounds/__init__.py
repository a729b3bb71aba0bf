"""Rounds of feedback: responses are labeled, the reward is learned anew, the policy trains on."""
