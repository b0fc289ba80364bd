"""How networks are trained and measured: models, data sets, energy, records, sweeps, the command line."""
