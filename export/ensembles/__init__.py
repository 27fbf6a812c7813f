"""Ensembles: several bundles of equals as one; see `cxr_edge.model.members`."""
