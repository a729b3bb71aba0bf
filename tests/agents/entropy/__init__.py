"""Tests of `agents.entropy`."""
