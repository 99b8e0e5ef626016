"""What every learner has to keep: devices, vmapped numbers, post-decision critics, settings, names."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learners import CONFIGS, NETWORK, batch, make, passed, same, spec

from vmax.algorithms import config_class, make_algorithm
from vmax.algorithms.algorithm import TD_ERROR
from vmax.algorithms.critic import Lesson, critic_step, make_critic
from vmax.algorithms.optimiser import trainable
from vmax.errors import UserError
from vmax.spaces import Discrete

NAMES = sorted(CONFIGS)


@cache
def begin(name: str):
    """A learner of this name and its first state."""
    algorithm = make(name, max_grad_norm=0.3)
    return algorithm, jax.jit(lambda key: algorithm.init(key, spec()))(jax.random.key(0))


def moved(observation, action, context):
    """The reward is certain; one action moves one entry of the observation."""
    return context["price"] * action[0], observation.at[0].add(action[1])


@pytest.mark.parametrize(
    ("name", "counterfactuals"),
    [("sac", 2), ("td3", 0), *(pytest.param(*one, marks=pytest.mark.slow) for one in (("sac", 0), ("td3", 2)))],
)
def test_two_devices_with_half_the_batch_each_do_what_one_does(name, counterfactuals):
    inputs, key = batch(2, 16), jax.random.key(4)
    algorithm, offering = begin(name)[0], spec()
    if counterfactuals:
        options = {"counterfactuals": counterfactuals, "counterfactual_actor": True}
        algorithm = make(name, max_grad_norm=0.3, post_decision_critic=True, **options)
        offering = spec(post_decision=moved, context={"price": jnp.float32(2.0)}, controlled=((0, -1.0, 1.0),))
    state = jax.jit(lambda key: algorithm.init(key, offering))(jax.random.key(0))
    halves = jax.tree.map(lambda leaf: jnp.stack([leaf[:, :8], leaf[:, 8:]]), inputs)
    one = jax.jit(lambda s: algorithm.update(s, inputs, key, offering))(state)
    on_each = replace(offering, axis="device")
    shared = jax.vmap(lambda half: algorithm.update(state, half, key, on_each), axis_name="device")
    two = jax.jit(shared)(halves)
    assert same(jax.tree.map(lambda leaf: leaf[0], two), jax.tree.map(lambda leaf: leaf[1], two), rtol=0, atol=0)
    assert same(one, jax.tree.map(lambda leaf: leaf[0], two), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_learning_rates_can_be_vmapped(name):
    (algorithm, state), inputs, key = begin(name), batch(1, 16), jax.random.key(4)

    def run(rate):
        hyper = replace(state.hyper, learning_rate=rate, critic_learning_rate=rate)
        return algorithm.update(replace(state, hyper=hyper), inputs, key, spec())[0]

    together = jax.jit(jax.vmap(run))(jnp.array([1e-3, 1e-2]))
    # Adam's first step is the learning rate, whatever the size of the gradient: the second run goes ten times as far
    for before, after in ((state.critic, together.critic), (state.actor, together.actor)):
        moved = jax.tree.map(lambda new, old: np.asarray(new - old), after.params, before.params)
        for leaf in jax.tree.leaves(moved):
            slow, fast = np.abs(leaf)
            assert np.isclose(slow.max(), 1e-3, rtol=1e-2) and np.isclose(fast.max(), 1e-2, rtol=1e-2)


@pytest.mark.parametrize("name", NAMES)
def test_observe_leaves_a_learner_without_a_normaliser_alone(name):
    algorithm, state = begin(name)
    assert algorithm.observe(state, jnp.ones((4, 3)), spec()) is state


def post_decision(observation, action, context):
    """The reward is certain; what remains of (s, a) is one number."""
    return context["price"] * action[0], observation[:1] + action[1:]


def test_a_post_decision_critic_adds_the_known_reward_to_what_it_learns():
    context, inputs = {"price": jnp.float32(2.0)}, batch(1, 16)
    critic = make_critic(NETWORK, 2, True, spec(post_decision=post_decision, context=context))
    seen, done = inputs.observation[0], inputs.action[0]
    params = jax.jit(lambda key: critic.init(key, seen, done, context))(jax.random.key(0))
    kernel = params["params"]["members"]["Torso_0"]["Dense_0"]["kernel"]
    assert kernel.shape == (2, 1, 16)  # one number read, no action
    remains = np.asarray(seen[:, :1] + done[:, 1:])
    learned = np.stack([passed(params["params"]["members"], remains, i)[:, 0] for i in range(2)])
    values = jax.jit(critic.values)(params, seen, done, context)
    assert np.allclose(values, 2.0 * np.asarray(done[:, 0]) + learned, rtol=1e-4, atol=1e-5)
    first, own = critic.first(params)
    assert np.allclose(jax.jit(first.values)(own, seen, done, context), values[:1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_actor_climbs_the_known_reward(name):
    algorithm = make(name, post_decision_critic=True, learning_rate=1e-2)
    context = {"price": jnp.float32(2.0)}
    offering = spec(post_decision=post_decision, context=context)

    def run(key):
        state = algorithm.init(key, offering)
        inputs = batch(100, 16)
        inputs = replace(inputs, discount=0.0 * inputs.discount, reward=2.0 * inputs.action[..., 0])
        state, _ = algorithm.update(state, inputs, key, offering)
        action, _, _ = algorithm.act(algorithm.policy(state), inputs.observation[0], (), key, explore=False)
        return action, state.context

    action, kept = jax.jit(run)(jax.random.key(0))
    assert action[:, 0].mean() > 0.8
    assert kept["price"] == 2.0
    assert kept["price"].unsafe_buffer_pointer() != context["price"].unsafe_buffer_pointer()  # it may be donated


def test_a_transition_teaches_at_other_charges_too():
    """Entry 0 is controlled: the known reward, the reward and the noise belong to the decision that was taken alone."""
    context, inputs = {"price": jnp.float32(2.0)}, jax.tree.map(lambda leaf: leaf[0], batch(1, 5))
    critic = make_critic(NETWORK, 2, True, spec(post_decision=lambda o, a, c: (c["price"] * a[0], o + a[0])))
    elsewhere = jnp.linspace(-1.0, 1.0, 10).reshape(2, 5, 1)
    lesson = critic.lessons(inputs, elsewhere, ((0, -1.0, 1.0),), context)
    taken, others = np.asarray(inputs.observation + inputs.action[:, :1]), np.asarray(elsewhere).reshape(10)
    assert np.allclose(lesson.inputs[:5], taken)
    assert np.allclose(lesson.inputs[5:, 0], others)
    assert np.allclose(lesson.inputs[5:, 1:], np.tile(taken[:, 1:], (2, 1)))
    assert np.allclose(lesson.next_observation[:5], inputs.next_observation)
    assert np.allclose(lesson.next_observation[5:, 0], others)
    assert np.allclose(lesson.next_observation[5:, 1:], np.tile(inputs.next_observation[:, 1:], (2, 1)))
    assert np.allclose(lesson.known, np.concatenate([2.0 * inputs.action[:, 0], np.zeros(10)]))
    assert np.allclose(lesson.reward, np.concatenate([inputs.reward, np.zeros(10)]))
    assert np.allclose(lesson.discount, np.tile(inputs.discount, 3))


def test_news_that_moves_the_charge_moves_the_other_charges_as_far_and_earns_as_much():
    inputs = jax.tree.map(lambda leaf: leaf[0], batch(1, 5))
    offering = spec(post_decision=lambda o, a, c: (2.0 * a[0], o + a[0]), news_moves=True)
    elsewhere = jnp.linspace(-1.0, 1.0, 10).reshape(2, 5, 1)
    lesson = make_critic(NETWORK, 2, True, offering).lessons(inputs, elsewhere, ((0, -1.0, 1.0),), {})
    moved = inputs.next_observation[:, 0] - (inputs.observation[:, 0] + inputs.action[:, 0])
    assert np.allclose(lesson.next_observation[:5], inputs.next_observation)
    assert np.allclose(lesson.next_observation[5:, 0], np.clip(elsewhere[..., 0] + moved, -1.0, 1.0).ravel(), atol=1e-6)
    assert np.allclose(lesson.reward[5:], np.tile(inputs.reward - 2.0 * inputs.action[:, 0], 2), atol=1e-6)


def test_differences_between_charges_weigh_more_than_their_common_level():
    """A first step without Adam's scale: errors 3 and 1 of one transition, weight 20, by hand."""
    critic = make_critic(NETWORK, 2, True, spec(post_decision=lambda o, a, c: (0.0 * a[0], o)))
    params = critic.init(jax.random.key(0), jnp.zeros((1, 3)), jnp.zeros((1, 2)), {})
    inputs = jnp.asarray([[0.1, 0.2, 0.3], [0.9, 0.2, 0.3]])
    values = critic.network.apply(params, inputs)
    lesson = Lesson(inputs, jnp.zeros(2), jnp.zeros(2), jnp.zeros(2), inputs)
    target = jnp.asarray([-3.0, -1.0])
    no_memory = lambda params: None  # noqa: E731
    step = jax.jit(critic_step, static_argnums=(0, 5, 6, 11))
    rates = (jnp.float32(20.0), jnp.float32(1e-3), jnp.float32(1e-8), jnp.float32(jnp.inf))
    _, metrics, taken = step(critic, trainable(params), lesson, target, None, no_memory, 1, *rates, None)
    errors = np.asarray(values) - np.asarray(target)
    level = errors.mean(axis=1, keepdims=True)
    by_hand = 0.5 * np.sum(np.mean(level**2 + 20.0 * (errors - level) ** 2, axis=1))
    assert metrics["critic_loss"] == pytest.approx(by_hand, rel=1e-5)
    assert np.allclose(taken, [np.abs(errors[:, 0]).mean()], rtol=1e-5)  # of the decision that was taken, not the other
    rates = (jnp.float32(1.0), *rates[1:])
    _, plain, _ = step(critic, trainable(params), lesson, target, None, no_memory, 1, *rates, None)
    assert plain["critic_loss"] == pytest.approx(0.5 * np.sum(np.mean(errors**2, axis=1)), rel=1e-5)


@pytest.mark.parametrize("name", ["sac", pytest.param("td3", marks=pytest.mark.slow)])
def test_the_value_of_a_charge_is_learned_where_no_decision_led_to_it(name):
    """Value 1 per unit of the controlled entry, which no transition moves from 0: only counterfactuals can tell."""

    def known(observation, action, context):
        return observation[0] + 0.0 * action[0], observation

    def slope(counterfactuals):
        algorithm = make(name, post_decision_critic=True, counterfactuals=counterfactuals)
        offering = spec(post_decision=known, context={}, controlled=((0, -1.0, 1.0),))
        inputs = batch(400, 32)
        still = lambda seen: seen.at[..., 0].set(0.0)  # noqa: E731
        inputs = replace(
            inputs,
            observation=still(inputs.observation),
            next_observation=still(inputs.next_observation),
            reward=0.0 * inputs.reward,
            discount=jnp.full_like(inputs.discount, 0.5),
        )

        def run(key):
            state = algorithm.init(key, offering)
            state, _ = algorithm.update(state, inputs, key, offering)
            critic = make_critic(NETWORK, 2, True, offering)
            at = lambda charge: still(inputs.observation[0]).at[..., 0].set(charge)  # noqa: E731
            both = [critic.network.apply(state.critic.params, at(charge)) for charge in (-0.8, 0.8)]
            return jnp.mean(both[1] - both[0]) / 1.6  # pyright: ignore[reportOperatorIssue]

        return float(jax.jit(run)(jax.random.key(0)))

    assert slope(2) == pytest.approx(1.0, abs=0.15)  # V = γ (x + V), so V = x γ / (1 - γ) = x
    assert abs(slope(0)) < 0.6


@pytest.mark.parametrize("name", [pytest.param("sac", marks=pytest.mark.slow), "td3"])
def test_a_counterfactual_actor_decides_well_where_it_has_never_been(name):
    """The action is to follow the controlled entry, at which nothing but 0 was ever seen."""

    def known(observation, action, context):  # largest at a = o
        return action[0] * (2.0 * observation[0] - action[0]), observation.at[0].set(0.0)

    def slope(everywhere):
        algorithm = make(name, post_decision_critic=True, counterfactuals=2, counterfactual_actor=everywhere)
        offering = spec(actions=1, post_decision=known, context={}, controlled=((0, -1.0, 1.0),))
        inputs = batch(400, 32, actions=1)
        seen = inputs.observation.at[..., 0].set(0.0)
        inputs = replace(inputs, observation=seen, next_observation=seen, discount=0.0 * inputs.discount)

        def run(key):
            state, _ = algorithm.update(algorithm.init(key, offering), inputs, key, offering)
            at = lambda charge: seen[0].at[..., 0].set(charge)  # noqa: E731
            policy = algorithm.policy(state)
            low, high = (algorithm.act(policy, at(c), algorithm.initial_carry(32), key, False)[0] for c in (-0.6, 0.6))
            return jnp.mean(high - low) / 1.2

        thorough = {"xla_backend_optimization_level": 3}  # the quick compilation of these tests makes NaN of it
        return float(jax.jit(run, compiler_options=thorough)(jax.random.key(0)))

    assert slope(True) == pytest.approx(1.0, abs=0.2)
    assert abs(slope(False)) < 0.6


def test_saturation_weight_keeps_actions_where_tanh_still_moves():
    """More is always better here, so without it raw actions grow and grow."""

    def largest(weight):
        offering = spec(actions=1, post_decision=lambda o, a, c: (a[0], o), context={})
        algorithm = make("td3", post_decision_critic=True, saturation_weight=weight)
        inputs = batch(600, 32, actions=1)
        state = jax.jit(lambda key: algorithm.init(key, offering))(jax.random.key(0))
        state = jax.jit(lambda s: algorithm.update(s, inputs, jax.random.key(1), offering)[0])(state)
        action = algorithm.act(algorithm.policy(state), inputs.observation[0], (), jax.random.key(0), False)[0]
        return float(np.abs(action).max())

    assert largest(0.0) > 0.99
    assert 0.96 < largest(1.0) < 0.98


@pytest.mark.parametrize("name", NAMES)
def test_what_an_environment_lacks_is_named(name):
    with pytest.raises(UserError, match="algorithm.post_decision_critic=true: this environment offers no"):
        make(name, post_decision_critic=True).init(jax.random.key(0), spec())
    algorithm = make(name, post_decision_critic=True, counterfactuals=1)
    offering = spec(post_decision=post_decision, context={"price": jnp.float32(1.0)})
    state = algorithm.init(jax.random.key(0), offering)
    with pytest.raises(UserError, match="algorithm.counterfactuals=1: this environment names no controlled features"):
        algorithm.update(state, batch(1, 4), jax.random.key(0), offering)
    with pytest.raises(UserError, match=rf"algorithm={name}: needs continuous actions.*Discrete\(size=2\)"):
        make(name).init(jax.random.key(0), replace(spec(), action_space=Discrete(2)))


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("sac", {"discount": 1.2}, r"algorithm.discount=1.2: must be within \[0, 1\]"),
        ("td3", {"polyak": -0.1}, r"algorithm.polyak=-0.1: must be within \[0, 1\]"),
        ("sac", {"learning_rate": float("nan")}, r"algorithm.learning_rate=nan: must be within \[0, 1\]"),
        ("td3", {"policy_delay": 0}, "algorithm.policy_delay=0: must be at least 1"),
        ("sac", {"num_critics": 0}, "algorithm.num_critics=0: must be at least 1"),
        ("sac", {"initial_temperature": 0.0}, "algorithm.initial_temperature=0.0: must be above 0"),
        ("td3", {"max_grad_norm": 0.0}, "algorithm.max_grad_norm=0.0: must be above 0"),
        ("td3", {"adam_eps": 2.0}, "algorithm.adam_eps=2.0: must be above 0 and at most 1"),
        (
            "sac",
            {"post_decision_critic": True, "normalise_observations": True},
            "algorithm.normalise_observations=true: must be false with",
        ),
        ("td3", {"counterfactuals": -1}, "algorithm.counterfactuals=-1: must be at least 0"),
        ("sac", {"counterfactuals": 1}, "algorithm.counterfactuals=1: needs algorithm.post_decision_critic=true and"),
        (
            "td3",
            {"counterfactuals": 1, "post_decision_critic": True, "n_step": 2},
            "algorithm.counterfactuals=1: needs .* algorithm.n_step=1; set 0",
        ),
    ],
)
def test_settings_out_of_range_are_named(name, changes, message):
    with pytest.raises(UserError, match=message):
        replace(CONFIGS[name], **changes)


def test_names_lead_to_configs_and_learners():
    for name in NAMES:
        assert config_class(name) is type(CONFIGS[name])
        assert make_algorithm(CONFIGS[name], NETWORK).name == name
    with pytest.raises(UserError, match="algorithm.name=sacc: unknown; available: a2c, dqn, ppo, sac, td3"):
        config_class("sacc")


def test_a_weight_counts_as_so_many_samples():
    """[a, a, a, b] without weights, and [a, b, b, b] with 6, 2/3 …: any scale will do. TD3 without its noise."""
    algorithm, inputs = make("td3", target_noise=0.0), batch(2, 2)

    def run(rows, weight):
        drawn = jax.tree.map(lambda leaf: leaf[:, jnp.array(rows)], inputs)
        if weight is not None:
            drawn = replace(drawn, weight=jnp.tile(jnp.array(weight), (2, 1)), place=jnp.zeros((2, 4), jnp.int32))
        return algorithm.update(algorithm.init(jax.random.key(0), spec()), drawn, jax.random.key(1), spec())

    plain, metrics = jax.jit(lambda: run([0, 0, 0, 1], None))()
    weighted, others = jax.jit(lambda: run([0, 1, 1, 1], [6.0, 2 / 3, 2 / 3, 2 / 3]))()
    errors = others.pop(TD_ERROR)
    assert errors.shape == (2, 4) and (errors[:, 1] == errors[:, 3]).all() and (errors[:, 0] != errors[:, 1]).all()
    assert metrics.keys() == others.keys() and same(metrics, others, rtol=1e-3, atol=1e-6)
    assert same(plain.critic.params, weighted.critic.params, atol=1e-4)
