"""Imported once by the process that sessions are forked from, so that each of them has what it needs.

What a session imports only when it comes to it (a candidate's file, a tape that is sealed) would be imported anew in
every process, which is a sixth of the time.
"""

import importlib

import numpy as np
import pyarrow as pa

from tests.simulation.session import warm

for name in ("_strptime", "models.checkpoint", "models.ppo", "numpy.ma", "numpy.random"):
    importlib.import_module(name)
pa.array(np.zeros(1))  # imports pandas, where it is installed
warm()
