"""The results of runs as one self-contained HTML page."""

from cnn_constraints.report.page.build import EXTRA as EXTRA
from cnn_constraints.report.page.build import Run as Run
from cnn_constraints.report.page.build import can_build as can_build
from cnn_constraints.report.page.build import page as page
from cnn_constraints.report.page.build import read_run as read_run
