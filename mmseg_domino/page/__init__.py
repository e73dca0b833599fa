"""One page for all: tables, figures and pictures in a single HTML file, or as text and files."""

from .tables import Estimate, Interval, Marked, Missing, Table

__all__ = ["Estimate", "Interval", "Marked", "Missing", "Table"]
