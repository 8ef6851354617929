"""From structures and a reference calculator to a force field, unattended."""
