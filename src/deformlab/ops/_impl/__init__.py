"""What is behind the operators: the compiled library, and for each operator its checks and derivatives."""
