"""Training of the embedded image-text model: crops of labelled renders, both towers, alignment, evaluation, export."""
