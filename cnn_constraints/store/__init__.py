"""The only code that reads or writes a run folder.

config.json                               the resolved experiments of the sweep, by name
environment.json                          versions, device and commit of every attempt to run it
parts.json                                the names of all parts
metrics/<group>-<digest>.parquet          a part: what experiments that were trained side by side found
weights/<experiment>-<digest>.safetensors  the chosen network of an experiment, where weights are kept
checkpoints/<group>-<digest>.safetensors  a group in the middle: the state of its candidates, and what it found so far
locks/<group>                             locked by the process that works on the group
locks/folder                              locked while config.json, environment.json or parts.json is changed
figures/, report.html                     what reports draw
tensorboard/                              event files, a folder an experiment

Parts, weights and checkpoints are named by the SHA-256 of their content, and an experiment by the hash of its fields, so
that nothing is read that was not written. All are data, and nothing in them is ever executed.
"""

from cnn_constraints.store.checkpoints import Checkpoint as Checkpoint
from cnn_constraints.store.checkpoints import Checkpoints as Checkpoints
from cnn_constraints.store.folder import FORMAT as FORMAT
from cnn_constraints.store.folder import RunFolder as RunFolder
from cnn_constraints.store.folder import finished as finished
from cnn_constraints.store.folder import open_run as open_run
from cnn_constraints.store.folder import read_attempts as read_attempts
from cnn_constraints.store.folder import read_config as read_config
from cnn_constraints.store.folder import read_experiments as read_experiments
from cnn_constraints.store.tables import EVENTS as EVENTS
from cnn_constraints.store.tables import read as read
from cnn_constraints.store.tables import read_finished as read_finished
from cnn_constraints.store.weights import Predictions as Predictions
from cnn_constraints.store.weights import Trained as Trained
from cnn_constraints.store.weights import load as load
from cnn_constraints.store.weights import predict as predict
