"""Configurations to begin with, for ``sikff learn --example``."""

MOLECULE = """\
# sikff learn learn.yaml
structures: [start.xyz]        # one structure or several: conformers, molecules
calculator: {name: tblite.ase.TBLite, arguments: {method: GFN2-xTB, verbosity: 0}, workers: 1}
target: 20                     # meV/Å, mean absolute error of forces in the model's own dynamics
temperatures: [300, 600]       # K; 1.5 times the highest is explored as well
max_labels: 300
max_minutes: 60
model: {channels: 16, correlation: 2}
output: learned
"""
CRYSTAL = """\
# sikff learn learn.yaml
structures: [crystal.cif]      # a cell of 30 atoms or more; several phases
calculator: {name: ase.calculators.emt.EMT}     # with a stress
target: 20                     # meV/Å
temperatures: [300, 600]       # K
ensemble: npt                  # cells move, and stress is learned
pressure: 0                    # GPa
max_labels: 200
max_minutes: 60
output: learned
"""
SURFACE = """\
# sikff learn learn.yaml
structures: [CO.xyz]           # the molecule, relaxed, without the slab
surface:
  slab: cu111.xyz              # the slab alone, relaxed, with vacuum
  molecules: [1]               # [1, 2]: also two of them
  heights: auto                # [low, high], Å, between which molecules are put
  wall: 2.0                    # eV, how far up the repulsive wall
  frozen: true                 # the slab does not move
calculator: {name: ase.calculators.emt.EMT}     # of slab and molecule together
target: 30                     # meV/Å
temperatures: [300, 600]       # K
max_labels: 400
max_minutes: 60
output: learned
"""
QUEUE = """\
# sikff learn learn.yaml              writes structures to jobs/ and ends with status 3
# sikff learn learn.yaml --resume     goes on when their labels are there
structures: [start.xyz]
calculator: {folder: jobs, result: vasprun.xml}     # in each folder of jobs/; any format of ASE
target: 20                     # meV/Å
temperatures: [300, 600]       # K
max_labels: 200
max_minutes: null              # of the run itself
output: learned
"""
EXAMPLES = {"molecule": MOLECULE, "crystal": CRYSTAL, "surface": SURFACE, "queue": QUEUE}
