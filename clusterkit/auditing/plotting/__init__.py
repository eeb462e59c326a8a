"""Plots of the audit page as PNG files; `overview` draws them all."""
