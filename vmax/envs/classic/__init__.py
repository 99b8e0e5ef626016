"""Problems with known answers, for proving a learner: Pendulum, CartPole and the probes."""
