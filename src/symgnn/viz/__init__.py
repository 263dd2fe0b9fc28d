"""Figures and pages from arrays; nothing here runs a model or reads a data set."""

from symgnn.viz.body import Body as Body
from symgnn.viz.body import View as View
from symgnn.viz.body import body_of as body_of
from symgnn.viz.body import positions as positions
from symgnn.viz.body import project as project
from symgnn.viz.body import view_of as view_of
from symgnn.viz.charts import Chart as Chart
from symgnn.viz.charts import chart_picture as chart_picture
from symgnn.viz.charts import read_metrics as read_metrics
from symgnn.viz.clip import ClipView as ClipView
from symgnn.viz.clip import clip_page as clip_page
from symgnn.viz.edges import Link as Link
from symgnn.viz.edges import links_picture as links_picture
from symgnn.viz.edges import strongest_links as strongest_links
from symgnn.viz.page import write_page as write_page
from symgnn.viz.report import Example as Example
from symgnn.viz.report import Forecast as Forecast
from symgnn.viz.report import Recognition as Recognition
from symgnn.viz.report import ReportData as ReportData
from symgnn.viz.report import confusion_table as confusion_table
from symgnn.viz.report import report_page as report_page
from symgnn.viz.skeletons import observed_panels as observed_panels
from symgnn.viz.skeletons import prediction_panels as prediction_panels
from symgnn.viz.svg import Picture as Picture
from symgnn.viz.svg import beside as beside
