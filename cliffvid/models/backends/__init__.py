"""The inference runtimes, a module each, imported on use."""
