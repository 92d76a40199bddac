"""A comparison of algorithms: its study, its runs, what they reached, and the report."""
