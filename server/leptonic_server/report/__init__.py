"""The report of a run: one HTML file that needs nothing else, to read, print and keep.

Made from the run store alone, at the end of a run or any time later; label counts are given by a
simulation only.
"""

from leptonic_server.report.page import write_report

__all__ = ["write_report"]
