"""From encoder features to labels with evidence: the steps of DESIGN §7, one module each."""
