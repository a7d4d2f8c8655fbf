"""A lab: several routers, links between them, traces injected at their interfaces, on one virtual clock.

lab = Lab.load("site.toml")
outcome = lab.run()
outcome.journeys    # one row an injected packet: delivered where and when, or lost where and why
"""

from qfp.lab.errors import LabError
from qfp.lab.run import Lab, Outcome

__all__ = ["Lab", "LabError", "Outcome"]
