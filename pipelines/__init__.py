"""Commands, configuration, phases, data sets and reports: Algorithm 1 as software."""
