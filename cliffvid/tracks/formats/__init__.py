"""Files of other programs, a module each: what a consumer reads, in its axes, units and rates."""
