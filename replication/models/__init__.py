"""Models: one per file, registered under the file's name."""
