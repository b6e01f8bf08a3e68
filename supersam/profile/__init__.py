"""Measuring the parts of encoders on this machine."""
