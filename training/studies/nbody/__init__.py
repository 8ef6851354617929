"""N particles under forces of axial symmetry: where will they be one unit of time from now?"""
