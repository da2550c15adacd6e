import gymnasium

from infogail.envs.catalogue import environment_id


def start(name, seed=0):
    env = gymnasium.make(environment_id(name)).unwrapped
    env.reset(seed=seed)
    return env, env.scene
