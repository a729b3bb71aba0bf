"""Measured comparisons; nothing here is a test, and nothing else imports it."""
