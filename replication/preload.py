"""What the fork server of a sweep loads once: the libraries of a run and Hydra's search path, so no child has to."""

from replication.worker import compose

compose([])
