"""The conformance kit: whether a plug-in keeps its contract."""
