"""Tests of `agents.critics`."""
