"""Write the file formats of other programs, one module each, in their axes, units and frame rates."""
