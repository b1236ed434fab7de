"""Figures for print: everything is drawn at the size of a paper's column, by matplotlib, with its caption inside."""
