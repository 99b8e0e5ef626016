"""Pictures of a battery's operation, from the written time series."""

from __future__ import annotations

import matplotlib.dates as mdates
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from vmax.plotting import canvas, colour

WEEK = pd.Timedelta(days=7)


def week(timeseries: pd.DataFrame, policies: list[str], timezone: str, currency: str) -> Figure:
    """Price, power and state of charge of some policies over the week with the median price spread, in local time."""
    tables = {name: _local(timeseries, name, timezone) for name in policies}
    first = _typical_week(next(iter(tables.values())))
    with canvas(11, 7, rows=2 + len(tables), sharex=True, height_ratios=[2, *[1.3] * len(tables), 2]) as (figure, axes):
        for name, table in tables.items():
            shown = table[(table["local"] >= first) & (table["local"] < first + WEEK)]
            panel = axes[1 + policies.index(name)]
            power = shown["discharge_mw"] - shown["charge_mw"]
            panel.fill_between(shown["local"], power, step="post", color=colour(name), alpha=0.85, linewidth=0)
            panel.set_ylabel("MW")
            panel.set_title(f"{name}: power, discharge above 0")
            axes[-1].plot(shown["local"], 100 * shown["soc"], color=colour(name), label=name, linewidth=1.6)
            if name == policies[0]:
                axes[0].step(shown["local"], shown["price_eur_per_mwh"], where="post", color="#37474f", linewidth=1.3)
        axes[0].axhline(0, color="#8a929c", linewidth=0.8)
        axes[0].set(title=f"Price, {currency}/MWh", ylabel=f"{currency}/MWh")
        axes[-1].set(title="State of charge", ylabel="% of capacity", ylim=(0, 100), xlim=(first, first + WEEK))
        axes[-1].legend(ncols=len(policies), loc="lower right", bbox_to_anchor=(1.0, 1.0))
        axes[-1].xaxis.set_major_locator(mdates.DayLocator(tz=timezone))
        axes[-1].xaxis.set_major_formatter(mdates.DateFormatter("%a %d %b %Y", tz=timezone))
    return figure


def charge_by_hour(timeseries: pd.DataFrame, policies: list[str], timezone: str) -> Figure:
    """Mean state of charge by local hour and month, one panel for each policy."""
    with canvas(11, 0.8 + 2.6 * len(policies), rows=len(policies), sharex=True, squeeze=False) as (figure, axes):
        for name, panel in zip(policies, axes[:, 0], strict=True):
            table = _local(timeseries, name, timezone)
            mean = table.pivot_table(index="month", columns="hour", values="soc") * 100
            image = panel.imshow(mean, aspect="auto", cmap="viridis", vmin=0, vmax=100, origin="lower")
            panel.set_yticks(range(len(mean)), mean.index, fontsize=8)
            panel.set_title(f"{name}: mean state of charge, %")
            panel.grid(False)
            figure.colorbar(image, ax=panel)
        axes[-1, 0].set_xticks(range(0, 24, 2))
        axes[-1, 0].set_xlabel("local hour")
    return figure


def season_days(table: pd.DataFrame, timezone: str, currency: str) -> Figure:
    """Price, power and state of charge of one day of each season, side by side in local hours."""
    seasons, apart, marks = list(dict.fromkeys(table["season"])), 30, (0, 6, 12, 18, 24)
    with canvas(12, 6, rows=3, sharex=True) as (figure, (price, power, charge)):
        for number, season in enumerate(seasons):
            shown = {name: np.asarray(values) for name, values in table[table["season"] == season].items()}
            local = pd.Timestamp(shown["utc"][0], tz="UTC").tz_convert(timezone)
            hour = apart * number + np.linspace(0.0, 24.0, len(shown["utc"]) + 1)
            price.stairs(shown["price_eur_per_mwh"], hour, color="#37474f", linewidth=1.3, baseline=None)
            title = f"{season}, {local:%d %b %Y}"
            price.text(hour[0], 1.05, title, transform=price.get_xaxis_transform(), weight="bold")
            power.stairs(shown["discharge_mw"] - shown["charge_mw"], hour, color=colour("best"), alpha=0.85, fill=True)
            charge.plot(hour, 100 * np.append(shown["soc"], shown["soc_end"][-1]), color=colour("best"))
        days = [apart * number for number in range(len(seasons))]
        charge.set_xticks([day + mark for day in days for mark in marks], [str(mark) for _ in days for mark in marks])
        charge.set(xlabel="local hour", ylabel="state of charge, %", ylim=(0, 100), xlim=(-3, days[-1] + 27))
        price.set_ylabel(f"price, {currency}/MWh")
        power.set_ylabel("power, MW")
    return figure


def _local(timeseries: pd.DataFrame, policy: str, timezone: str) -> pd.DataFrame:
    """A policy's rows in order of time (of lanes over one period the first), with columns local, day, month, hour."""
    table = timeseries[timeseries["policy"] == policy].groupby("utc", as_index=False).first()
    local = pd.DatetimeIndex(table["utc"]).tz_localize("UTC").tz_convert(timezone)
    return table.assign(local=local, day=local.normalize(), month=local.strftime("%Y-%m"), hour=local.hour)


def _typical_week(table: pd.DataFrame) -> pd.Timestamp:
    """First local midnight of the week of whole days whose mean within-day price spread is the median one."""
    spread = table.groupby("day")["price_eur_per_mwh"].std()
    days, values = list(spread.index), spread.to_numpy()
    weeks = np.asarray([values[i : i + 7].mean() for i in range(0, max(len(values) - 6, 1), 7)])
    return days[7 * int(np.argsort(weeks)[len(weeks) // 2])]
