"""What an experiment's ``[scenario]`` does to a simulation: clients that are away, slow, lost or lying.

The coordinator does not know of it: it meets deadlines, late and lost clients as in a deployment, in virtual time.
"""
