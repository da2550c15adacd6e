"""The simulator suite: driving scenarios, each on highway-env's own physics and on a batched torch twin of it.

Importing this package registers `infogail/Pass-v0`, `infogail/Turn-v0` and the other scenarios with Gymnasium. It is
cheap: the simulators themselves (highway-env, torch) are imported when the first environment is made.
"""

from infogail.envs.catalogue import register

register()
