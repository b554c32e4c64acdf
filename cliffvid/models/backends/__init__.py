"""Run networks with the inference runtimes, one module each, imported on use."""
