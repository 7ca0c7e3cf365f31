"""The only code that reads or writes a run folder.

config.json                        the resolved experiments of the sweep, by name
environment.json                   versions, device and commit of every attempt to run it
index.json                         the names of all parts
metrics/<group>-<digest>.parquet   a part: what experiments that were trained side by side found
checkpoints/<group>.json           a group in the middle: what it found so far, and the digest of
checkpoints/<group>-<update>/      the state of its candidates, written by Orbax
holds/<group>                      locked by the process that works on the group, and which that is
holds/folder                       locked while one of the documents is changed
figures/, report.html              what reports draw
tensorboard/                       event files, a folder an experiment

Parts are named by the SHA-256 of their content and the documents carry their own, so that nothing is read that was not
written. All are data: JSON, Parquet and arrays, and nothing in them is ever executed.
"""

from cnn_constraints.store.checkpoints import Checkpoint as Checkpoint
from cnn_constraints.store.checkpoints import Checkpoints as Checkpoints
from cnn_constraints.store.documents import FORMAT as FORMAT
from cnn_constraints.store.folder import RunFolder as RunFolder
from cnn_constraints.store.folder import finished as finished
from cnn_constraints.store.folder import is_whole as is_whole
from cnn_constraints.store.folder import open_run as open_run
from cnn_constraints.store.folder import read_attempts as read_attempts
from cnn_constraints.store.folder import read_config as read_config
from cnn_constraints.store.tables import EVENTS as EVENTS
from cnn_constraints.store.tables import read as read
from cnn_constraints.store.tables import read_finished as read_finished
