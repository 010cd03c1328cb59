"""Image-text encoders (open_clip, CLIPSeg) behind one protocol, and the crops that masks are embedded from."""
