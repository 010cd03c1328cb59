"""voxlang: any 3D volume in, a text-queryable, hierarchical 3D segmentation out.

Importing the package loads no model library; every room imports what it needs where it needs it.
"""

__version__ = "0.1.0"
