"""Stage 1: the implicit neural representation of the scalar volume."""
