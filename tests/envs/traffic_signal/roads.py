"""Small roads and networks for tests of traffic flow."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vmax.envs.traffic_signal.arrays import Network, Sizes, VehicleClass, build
from vmax.envs.traffic_signal.flow import Flow
from vmax.envs.traffic_signal.network import Demand, Description, Link

FREE, JAM = 13.89, 0.15
CAR = VehicleClass("car", 1.0, FREE * 3.6, 1.0, 8.0)
MOTORCYCLE = VehicleClass("motorcycle", 0.25, 40.0, 2.0, 3.0)


def one_road(length_m: float, dx_m: float, classes=(CAR,), saturation_per_h: float = 1800.0) -> Network:
    """A source that is a sink: vehicles enter a road and leave at its stop line."""
    link = Link("road", "", "", length_m, 1, FREE, saturation_per_h, {})
    described = Description("one", 1000.0 * JAM, {}, {"road": link}, {}, {"road": Demand(0.0, (0.0, 0.0), 0.0)})
    return build(described, Sizes.of([described], dx_m), classes, dx_m)


def in_float64(tree: Any) -> Any:
    """The same with float64 instead of float32."""
    return jax.tree.map(lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x, tree)


def vehicles(network: Network, traffic: Any) -> Any:
    """All on the roads."""
    return (traffic.r * network.roads.holds_veh[..., None] * network.roads.cells).sum()


def delay_at_signal(model: Any, arriving_per_s: float, dx_m: float, cycle_s: float, green_s: float) -> float:
    """Seconds per vehicle that a signal with red first costs a steady stream, over the last ten of thirty cycles; in
    float64, beside the same road without a signal."""
    network = in_float64(one_road(1500.0, dx_m))
    steps = 2 * int(np.ceil(cycle_s / (0.9 * dx_m / FREE / model.fastest_wave) / 2))
    dt_s, flow = cycle_s / steps, Flow(model)

    def held(signalled: float) -> Any:
        def one(traffic: Any, step: Any) -> tuple[Any, Any]:
            red = (step % steps) * dt_s < cycle_s - green_s
            gate = 1.0 - signalled * red
            traffic, _ = flow.step(
                network.roads, traffic, gate[None], jnp.full((1, 1), arriving_per_s * dt_s), jnp.ones(1), dt_s
            )
            return traffic, vehicles(network, traffic) + traffic.outside_veh.sum()

        return jax.lax.scan(one, flow.empty(network.roads), jnp.arange(30 * steps))[1][-10 * steps :].mean()

    return float((held(1.0) - held(0.0)) / arriving_per_s)


def riemann_state(network: Network, left: tuple[float, float], right: tuple[float, float]) -> tuple[Any, Any]:
    """r and y of a road with `(density, speed)` left and right of its middle, `[1, N]`."""
    count = network.roads.cells.shape[-1]
    x = np.arange(count) + 0.5 - count / 2
    density, speed = (np.where(x < 0, a, b) for a, b in zip(left, right, strict=True))
    r = jnp.asarray(density / JAM)[None]
    return r, r * (jnp.asarray(speed / FREE)[None] + r)
