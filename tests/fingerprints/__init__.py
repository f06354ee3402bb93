"""What every step and backend makes of tiny inputs: one fingerprint per VERSION.

inputs.py has the inputs, cases.py the calls, measure.py reduces files to numbers and compares them;
`python -m fingerprints` (`make fingerprints`) records what has a new VERSION.
"""
