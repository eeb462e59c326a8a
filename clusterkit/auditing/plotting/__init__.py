"""Plots of the audit page as SVG files; `overview` draws them all."""
