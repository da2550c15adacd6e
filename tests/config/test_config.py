from dataclasses import asdict, fields, is_dataclass

import pytest

from infogail.benchmark.cells import plan
from infogail.cli import main, parse
from infogail.config.config import SETTINGS, Config
from infogail.config.presets import PRESETS, settings
from infogail.envs.catalogue import SCENARIO_NAMES, get_scenario
from infogail.envs.errors import BadInput


def shown(capsys, arguments):
    """What `infogail ARGUMENTS` prints, on one line."""
    with pytest.raises(SystemExit) as stop:
        main(arguments.split())
    assert not stop.value.code
    return " ".join(capsys.readouterr().out.replace("│", " ").split())


def test_every_setting_has_one_flat_name_and_one_place():
    config = Config.of(num_envs=32, discriminator_steps=7, bc_steps=9)
    assert (config.run.num_envs, config.discriminator.steps, config.cloning.steps) == (32, 7, 9)
    assert len(SETTINGS) == sum(len(fields(getattr(config, part.name))) for part in fields(config))
    assert Config.of(**config.flat()) == config == Config.from_dict(asdict(config))
    assert config.with_(num_envs=1024, discriminator_steps=20, bc_steps=1000) == Config()


def test_parts_are_frozen_and_can_be_keys():
    for part in fields(Config):
        known = getattr(Config(), part.name)
        assert is_dataclass(known) and hash(known) == hash(getattr(Config(), part.name))
        with pytest.raises(AttributeError):
            setattr(known, fields(known)[0].name, None)


def test_an_unknown_name_is_refused_with_the_nearest():
    for unknown in (lambda: Config.of(num_env=3), lambda: Config().with_(num_env=3)):
        with pytest.raises(BadInput, match=r"unknown setting 'num_env'; did you mean num_envs\?"):
            unknown()


ZEROS = {"gamma", "info_coef", "initial_log_std", "failure_penalty", "warm_start_steps", "replay_iterations"}


@pytest.mark.parametrize("scenario", SCENARIO_NAMES)
def test_zero_is_zero_in_every_scenario(scenario):
    zero = settings(get_scenario(scenario), overrides=dict.fromkeys(ZEROS, 0)).flat()
    assert {name for name in ZEROS if zero[name] == 0} == ZEROS


@pytest.mark.parametrize("name", ["iterations", "num_codes", "posterior_steps", "discriminator_learning_rate"])
def test_no_number_stands_for_another(name):
    for value in (0, -1):
        with pytest.raises(BadInput, match=f"--{name.replace('_', '-')} {value}: give a number above 0"):
            Config.of(**{name: value})
    with pytest.raises(BadInput, match="--info-coef -1: give 0 or more"):
        Config.of(info_coef=-1)


@pytest.mark.parametrize(
    "name",
    ["demonstrations_limit", "labelled", "weight_clip", "max_evidence", "posterior_target", "settling_iterations"],
)
def test_what_is_off_is_none(name):
    assert Config.of(**{name: None}).flat()[name] is None
    with pytest.raises(BadInput, match="give a number above 0, or None"):
        Config.of(**{name: 0})
    flag = f"--{name.replace('_', '-')}"
    for none in ("None", "none"):
        assert parse(["train", "pass", flag, none]).config.flat()[name] is None
    assert parse(["train", "pass", flag, "1"]).config.flat()[name] == 1
    with pytest.raises(BadInput, match=f"{flag} off: give a "):
        parse(["train", "pass", flag, "off"])


def test_parts_that_do_not_go_together_are_refused():
    with pytest.raises(BadInput, match="--num-envs 2: give at least one for each of the 3 codes"):
        Config.of(num_envs=2, num_codes=3)
    with pytest.raises(BadInput, match=r"--labelled 0\.1: a graded code has no labels; leave it out"):
        settings(get_scenario("turn-line"), overrides={"labelled": 0.1})


@pytest.mark.parametrize("scenario", SCENARIO_NAMES)
def test_settings_are_typed_over_the_presets_over_the_scenarios(scenario):
    recommended = get_scenario(scenario).recommended
    usual, preset = settings(get_scenario(scenario)).flat(), settings(get_scenario(scenario), "paper").flat()
    assert usual == Config().flat() | recommended
    assert preset == Config().flat() | recommended | PRESETS["paper"].changes
    typed = {"gamma": 0.5, "num_codes": 5, "learn_std": True}
    assert settings(get_scenario(scenario), "paper", typed).flat() == preset | typed


@pytest.mark.parametrize("scenario", ["highway", "replay", "turn-line"])
def test_train_and_benchmark_complete_settings_alike(scenario):
    flags = "--gamma 0.5 --no-learn-std --max-evidence none --seed 4"
    benchmark = parse(f"benchmark --out a --scenarios {scenario} --presets no-rim {flags}".split())
    (cell,) = plan(["infogail"], [scenario], [4], benchmark.presets, benchmark.typed)
    train = parse(f"train {flags} --preset no-rim {scenario}".split())
    assert train.config == cell.config
    expected = {"gamma": 0.5, "learn_std": False, "max_evidence": None, "seed": 4}
    assert train.typed == benchmark.typed == expected
    assert cell.config == settings(get_scenario(scenario), "no-rim", expected)


USUAL_LOG_STD = Config().policy.initial_log_std


@pytest.mark.parametrize(
    ("scenario", "num_codes", "gamma", "initial_log_std", "info_coef", "iterations", "graded"),
    [
        ("pass", 2, 0.95, USUAL_LOG_STD, 3.0, 30, False),
        ("turn-line", 7, 0.95, USUAL_LOG_STD, 3.0, 30, True),
        ("highway", 4, 0.95, -2.3, 3.0, 24, False),
        ("replay", 3, 0.95**0.5, -2.0, 1.0, 30, False),
    ],
)
def test_help_shows_the_scenarios_own_defaults(
    capsys, scenario, num_codes, gamma, initial_log_std, info_coef, iterations, graded
):
    text = shown(capsys, f"train {scenario} --help")
    for start in (
        f"levels of a graded code. (default: {num_codes})",
        f"Discount per decision. (default: {gamma})",
        f"standard deviation of actions; cloning leaves it as it is. (default: {initial_log_std})",
        f"log Q(c|τ) + log K. (default: {info_coef})",
        f"discriminator, posterior and policy. (default: {iterations})",
        f"as in turn-line. (default: {graded})",
    ):
        assert start in text


def test_help_shows_the_presets_defaults_and_says_what_the_scenario_decides(capsys):
    text = shown(capsys, "train pass --preset gamma-0.99 --help")
    assert "Discount per decision. (default: 0.99)" in text
    for command in ("train", "train --preset trpo", "benchmark"):
        text = shown(capsys, f"{command} --help")
        assert "Discount per decision. (default: recommended by the scenario)" in text
        assert "PPO's clip range of the probability ratio. (default: 0.2)" in text
    assert "from the old policy to the new. (default: 0.01)" in text


def test_every_flag_explains_itself(capsys):
    text = shown(capsys, "train --help")
    for name in SETTINGS:
        assert f"--{name.replace('_', '-')}" in text
    assert text.count("(default: ") > len(SETTINGS)
