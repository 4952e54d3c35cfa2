"""Implementation of the operators: loading the compiled library, and the checks and derivatives of each."""
