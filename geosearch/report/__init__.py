"""What stored evaluations say: figures with intervals, breakdowns, comparisons, pages, pictures."""

from geosearch.report.comparison import Comparison, compare
from geosearch.report.evaluation_records import Evaluated, list_evaluations
from geosearch.report.evaluation_summary import Summary, summarize, write_csv

__all__ = [
    "Comparison",
    "Evaluated",
    "Summary",
    "compare",
    "list_evaluations",
    "summarize",
    "write_csv",
]
