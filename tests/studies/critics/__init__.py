"""Tests of `studies.critics`."""
