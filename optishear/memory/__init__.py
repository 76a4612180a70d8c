"""Memory that each stage needs on its device, planned before it begins."""
