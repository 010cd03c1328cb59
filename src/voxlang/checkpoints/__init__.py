"""Checkpoints of the SAM family: recognise a file, infer its configuration, convert between layouts."""
