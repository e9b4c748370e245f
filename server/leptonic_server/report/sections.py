"""The sections of a report: what stands where on the page."""

from leptonic_server.report.charts import Limit, Series, line_chart, stacked_bars
from leptonic_server.report.facts import Facts
from leptonic_server.report.findings import findings
from leptonic_server.report.markup import Markup, join, tag
from leptonic_server.report.wording import bound, counted, duration, measure, plural, size
