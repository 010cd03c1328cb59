"""Names that users of SAM 2's training code import from here."""

from voxlang.encoders.resolvers import register_omegaconf_resolvers

__all__ = ["register_omegaconf_resolvers"]
