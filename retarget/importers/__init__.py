"""Importers of motions made elsewhere: MuscleMimic caches and OpenSim-named joint angles.

`python -m retarget.importers` is the command; `import_motions.import_motions` is what it calls.
"""
