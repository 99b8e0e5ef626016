"""What has to hold between the parts of a network. Each rule yields a line for each fault; links whose file does not
say where they begin or end are taken to fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from vmax.envs.traffic_signal.network import Description, Link, Signal

TOLERANCE = 1e-6
"""By which the turns of a link may miss 1."""


def faults(network: Description) -> Iterator[str]:
    """What is wrong, the plainest first: what one rule finds may be the cause of what a later one would."""
    yield from _turns(network)
    yield from _nodes(network)
    yield from _demand(network)
    yield from _ways(network)
    for signal in network.signals.values():
        yield from _phases(network, signal)
        yield from _approaches(network, signal)
    yield from _shared(network)


def _turns(network: Description) -> Iterator[str]:
    for link in network.links.values():
        where = f"links.{link.name}.turns"
        for to in link.turns:
            if to not in network.links:
                yield f"{where}.{to}: no such link; links are {_some(network.links)}"
            elif to == link.name:
                yield f"{where}.{to}: a link cannot turn into itself"
            else:
                begins = network.links[to].start
                if link.end and begins and link.end != begins:
                    yield f"{where}.{to}: {to} begins at {begins}, but {link.name} ends at {link.end}"
        if link.turns and abs(sum(link.turns.values()) - 1.0) > TOLERANCE:
            yield f"{where}: add up to {sum(link.turns.values()):g}, must be 1"


def _nodes(network: Description) -> Iterator[str]:
    for link in network.links.values():
        for node in (link.start, link.end):
            if network.nodes and node and node not in network.nodes:
                yield f"links.{link.name}: node {node} is none of {_some(network.nodes)}"
        if link.start and link.start == link.end:
            yield f"links.{link.name}: begins and ends at {link.end}"


def _demand(network: Description) -> Iterator[str]:
    fed = {to for link in network.links.values() for to in link.turns}
    for name in network.demand:
        if name not in network.links:
            yield f"demand.{name}: no such link; links are {_some(network.links)}"
        if name in fed:
            yield f"demand.{name}: other links turn into it; vehicles enter by links of their own"
    if not any(demand.swing[1] for demand in network.demand.values()):
        yield "demand: nobody comes; at least one link must have vehicles that enter by it"


def _ways(network: Description) -> Iterator[str]:
    """Vehicles come to every link, and find a way out from it."""
    reached = _closure(network.demand, lambda name: network.links[name].turns)
    into: dict[str, list[str]] = {name: [] for name in network.links}
    for link in network.links.values():
        for to in link.turns:
            into[to].append(link.name)
    leads_out = _closure([n for n, link in network.links.items() if not link.turns], lambda name: into[name])
    for name in network.links:
        if name not in reached:
            yield f"links.{name}: no vehicle ever comes here; it needs demand or a turn to it"
        elif name not in leads_out:
            ring = sorted(_closure(network.links[name].turns, lambda name: network.links[name].turns))
            yield (
                f"links.{name}: no way out of the network from here, turns lead only to {_some(ring)}; one of them "
                "needs a turn to a link without turns"
            )


def _closure(begin: Iterable[str], following: Callable[[str], Iterable[str]]) -> set[str]:
    """All that is reached from some names."""
    found, ahead = set(), list(begin)
    while ahead:
        name = ahead.pop()
        if name not in found:
            found.add(name)
            ahead.extend(following(name))
    return found


def _phases(network: Description, signal: Signal) -> Iterator[str]:
    where = f"signals.{signal.name}.phases"
    if len(signal.phases) < 2:
        yield f"{where}: {len(signal.phases)} given, at least 2 needed"
    for phase, links in signal.phases.items():
        for link in links:
            if link not in network.links:
                yield f"{where}.{phase}: no link {link}; links are {_some(network.links)}"
            elif (end := end_of(network, network.links[link])) not in ("", signal.name):
                yield (
                    f"{where}.{phase}: link {link} ends at {end}, not at {signal.name}; a signal bears the name of its "
                    "node and opens links that end there"
                )
        for other, others in signal.phases.items():
            if other != phase and set(links) <= set(others):
                yield (
                    f"{where}.{phase}: all its links have green in {other} too, so nobody ever needs it; leave it out, "
                    f"or give it a link that {other} has not"
                )


def _approaches(network: Description, signal: Signal) -> Iterator[str]:
    """Every link that ends at a signal has green at times, or is left alone on purpose."""
    where, signalled = f"signals.{signal.name}", {link for links in signal.phases.values() for link in links}
    ends = {name: end_of(network, link) for name, link in network.links.items()}
    for link in signal.uncontrolled:
        if ends.get(link, signal.name) != signal.name or link not in ends:
            yield f"{where}.uncontrolled: no link {link} ends here"
        elif link in signalled:
            yield f"{where}.uncontrolled: {link} stands in a phase too"
    for link, end in ends.items():
        if end == signal.name and link not in signalled and link not in signal.uncontrolled:
            yield (
                f"{where}: link {link} ends here and stands in no phase, so it would always be open; add it to a "
                f"phase, or say uncontrolled: [{link}] if that is meant"
            )


def _shared(network: Description) -> Iterator[str]:
    owners: dict[str, str] = {}
    for signal in network.signals.values():
        for phase, links in signal.phases.items():
            for link in links:
                if owners.setdefault(link, signal.name) != signal.name:
                    yield f"signals.{signal.name}.phases.{phase}: {link} belongs to {owners[link]}"


def end_of(network: Description, link: Link) -> str:
    """The node at which a link ends; where its file does not say so, the one where a turn leads on from; else empty."""
    begins = (network.links[to].start for to in link.turns if to in network.links)
    return link.end or next((node for node in begins if node), "")


def _some(names: Iterable[str]) -> str:
    """The first few of these names."""
    listed = list(names)
    return ", ".join(listed[:8]) + (" …" if len(listed) > 8 else "")
