"""Rounds of feedback: responses are labelled, the reward is learned anew, the policy trains on."""
