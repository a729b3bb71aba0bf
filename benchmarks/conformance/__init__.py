"""Conformance checks on the loss and advantage functions of other libraries."""
