"""The environments in other libraries, a file for each."""
