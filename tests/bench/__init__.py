"""Measurements: ``make bench-WHAT`` compares things that take turns in one run, and keeps figures as JSON."""
