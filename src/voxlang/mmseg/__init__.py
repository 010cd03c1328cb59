"""SAM 2's Hiera as a backbone in MMSegmentation; needs the extra `mmseg`, see docs/mmseg.md."""
