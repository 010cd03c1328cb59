"""Training of the embedded image-text model: crops of labelled renders, captions, losses, evaluation, export."""
