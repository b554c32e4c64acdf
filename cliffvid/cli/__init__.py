"""Command line: parse arguments, call the library, print; no other package prints."""
