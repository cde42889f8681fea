"""How weights are changed and averaged: Adam and the means of the weights."""
