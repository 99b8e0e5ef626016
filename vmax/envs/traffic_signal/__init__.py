"""Traffic signals on macroscopic traffic flow: physics, network, demand, signals, baselines and key figures."""
