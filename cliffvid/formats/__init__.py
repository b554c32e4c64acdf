"""Files of other worlds, each from pieces of motion: what a consumer reads, in its axes, units and rates."""
