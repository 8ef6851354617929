"""Studies of symmetry breaking: experiments of the paper, with the baselines they share."""
