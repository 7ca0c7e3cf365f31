"""What a run found, from Python: tables as pandas DataFrames, figures as Matplotlib's.

>>> from cnn_constraints import report
>>> results = report.read("runs/quickstart")
>>> len(results), results["model.constraint"].unique().tolist()
(64, ['dense', 'shared', 'local', 'conv'])
>>> report.compare(results, "model.constraint", "conv", "dense")["verdict"].unique().tolist()
['better', 'undecided', 'worse']
>>> figure = report.plot_learning_curves(results)
"""

from cnn_constraints.report.figures import plot_cells as plot_cells
from cnn_constraints.report.figures import plot_delta_curve as plot_delta_curve
from cnn_constraints.report.figures import plot_learning_curves as plot_learning_curves
from cnn_constraints.report.mistakes import confusion as confusion
from cnn_constraints.report.mistakes import plot_mistakes as plot_mistakes
from cnn_constraints.report.mistakes import wrong_images as wrong_images
from cnn_constraints.store import read as read
from cnn_constraints.summaries import compare as compare
from cnn_constraints.summaries import learning_curves as learning_curves
from cnn_constraints.summaries import samples_to_error as samples_to_error
from cnn_constraints.summaries import summarise as summarise
