"""Properties of crystals that people check before they believe a force field."""
