"""Made-up files in the layouts of public downloads, with the prices that are in them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Download:
    """How a source writes prices per MWh at these times (UTC, at equal steps), and the overrides that read the file."""

    write: Callable[[pd.DatetimeIndex, np.ndarray], dict[str, str]]
    overrides: tuple[str, ...]
    minutes: int = 60


def german(value: float) -> str:
    """1234.5 as 1.234,50."""
    return f"{value:,.2f}".translate(str.maketrans(",.", ".,"))


def local(utc: pd.DatetimeIndex, zone: str) -> pd.DatetimeIndex:
    return utc.tz_localize("UTC").tz_convert(zone)


def step(utc: pd.DatetimeIndex) -> np.timedelta64:
    return utc.to_numpy()[1] - utc.to_numpy()[0]


def entsoe_old(utc, price):
    begin, end = local(utc, "Europe/Brussels"), local(utc + step(utc), "Europe/Brussels")
    rows = [
        f'"{b:%d.%m.%Y %H:%M} - {e:%d.%m.%Y %H:%M}","{p:.2f}","EUR",""'
        for b, e, p in zip(begin, end, price, strict=True)
    ]
    for number, one in enumerate(begin.to_list()):  # the hour that clocks skip has a row without a price
        if one.hour == 1 and bool(begin.hour.to_numpy()[min(number + 1, len(begin) - 1)] == 3):
            rows[number] += f'\n"{one:%d.%m.%Y} 02:00 - {one:%d.%m.%Y} 03:00","-","EUR",""'
    header = '"MTU (CET/CEST)","Day-ahead Price [EUR/MWh]","Currency","BZN|FR"'
    return {"Day-ahead Prices_202401010000-202501010000.csv": "\n".join([header, *rows]) + "\n"}


def entsoe(utc, price):
    begin, end = local(utc, "Europe/Brussels"), local(utc + step(utc), "Europe/Brussels")
    twice = begin.tz_localize(None).duplicated(keep=False)
    rows = []
    for b, e, p, marked in zip(begin, end, price, twice, strict=True):
        mark = f" ({b:%Z})" if marked else ""
        span = f"{b:%d/%m/%Y %H:%M:%S}{mark} - {e:%d/%m/%Y %H:%M:%S}{mark}"
        rows += [
            f'"{span}","BZN|{area}","Without Sequence","{p + more:.2f}",,' for area, more in (("FR", 0), ("BE", 7))
        ]
    header = (
        '"MTU (CET/CEST)","Area","Sequence","Day-ahead Price (EUR/MWh)","Intraday Period (CET/CEST)",'
        '"Intraday Price (EUR/MWh)"'
    )
    return {"GUI_ENERGY_PRICES_202312312300-202412312300.csv": "\n".join([header, *rows]) + "\n"}


def smard(utc, price):
    begin, end = local(utc, "Europe/Berlin"), local(utc + step(utc), "Europe/Berlin")
    rows = [f"{b:%d.%m.%Y %H:%M};{e:%d.%m.%Y %H:%M};{german(p)};-" for b, e, p in zip(begin, end, price, strict=True)]
    columns = ("Deutschland/Luxemburg", "Anrainer DE/LU")
    header = ";".join(["Datum von", "Datum bis", *(f"{name} [€/MWh] Originalauflösungen" for name in columns)])
    return {"Gro_handelspreise_202401010000_202501010000_Stunde.csv": "\ufeff" + "\n".join([header, *rows]) + "\n"}


def aemo(utc, price):
    end = local(utc + step(utc), "Australia/Brisbane")
    rows = []
    for moment, p in zip(end, price, strict=True):
        for region, more in (("NSW1", 0.0), ("QLD1", 5.0)):
            rows.append(f"{moment:%Y/%m/%d %H:%M:%S},{region},0,{p + more:.5f}")
            if moment.hour == 3:
                rows.append(f"{moment:%Y/%m/%d %H:%M:%S},{region},1,9999.0")
    return {"prices.csv": "\n".join(["SETTLEMENTDATE,REGIONID,INTERVENTION,RRP", *rows]) + "\n"}


def aemo_price_demand(utc, price):
    end = local(utc + step(utc), "Australia/Brisbane")
    files = {}
    for month in sorted({f"{moment:%Y%m}" for moment in end}):
        rows = [
            f"NSW1,{moment:%Y/%m/%d %H:%M:%S},7500.1,{p:.2f},TRADE"
            for moment, p in zip(end, price, strict=True)
            if f"{moment:%Y%m}" == month
        ]
        header = "REGION,SETTLEMENTDATE,TOTALDEMAND,RRP,PERIODTYPE"
        files[f"monthly/PRICE_AND_DEMAND_{month}_NSW1.csv"] = "\n".join([header, *rows]) + "\n"
    return files


def gridstatus(zone, column, point):
    """A frame of gridstatus written by to_csv; `point` is the location that is read."""

    def write(utc, price):
        begin, end = local(utc, zone), local(utc + step(utc), zone)
        rows = [
            f"{b},{b},{e},DAY_AHEAD_HOURLY,{where},Trading Hub,{p + more:.2f}"
            for b, e, p in zip(begin, end, price, strict=True)
            for where, more in ((point, 0.0), ("OTHER", 3.0))
        ]
        header = f"Time,Interval Start,Interval End,Market,Location,Location Type,{column}"
        return {"prices.csv": "\n".join([header, *rows]) + "\n"}

    return write


def omie(utc, price):
    begin = local(utc, "Europe/Madrid")
    files = {}
    for day in sorted({f"{moment:%Y%m%d}" for moment in begin}):
        of_day = [p for moment, p in zip(begin, price, strict=True) if f"{moment:%Y%m%d}" == day]
        rows = [f"{day[:4]};{day[4:6]};{day[6:]};{k};{p + 1:.2f};{p:.2f};" for k, p in enumerate(of_day, 1)]
        files[f"omie/marginalpdbc_{day}.1"] = "\r\n".join(["MARGINALPDBC;", *rows, "*", ""])
    return files


def nordpool(utc, price):
    begin, end = local(utc, "Europe/Brussels"), local(utc + step(utc), "Europe/Brussels")
    rows = [
        f"{b:%d.%m.%Y %H:%M:%S};{e:%d.%m.%Y %H:%M:%S};{str(round(p, 2)).replace('.', ',')};1,0"
        for b, e, p in zip(begin, end, price, strict=True)
    ]
    header = "Delivery Start (CET);Delivery End (CET);SE3 (EUR);SE4 (EUR)"
    return {"auction-prices-2024-SE3.csv": "\n".join([header, *rows]) + "\n"}


def energy_charts(utc, price):
    begin = local(utc, "Europe/Berlin")
    rows = [f"{b.isoformat(timespec='minutes')},{p:.2f}" for b, p in zip(begin, price, strict=True)]
    header = '"Date (GMT+1)","Day Ahead Auction (DE-LU)"\n,"Price (EUR/MWh)"'
    return {"energy-charts_Electricity_production_2024.csv": "\n".join([header, *rows]) + "\n"}


def octopus_agile(utc, price):
    rows = [
        f"{p / 10:.4f},{p / 10 * 1.05:.4f},{b:%Y-%m-%dT%H:%M:%SZ},{b + step(utc):%Y-%m-%dT%H:%M:%SZ},"
        for b, p in zip(utc, price, strict=True)
    ]
    header = "value_exc_vat,value_inc_vat,valid_from,valid_to,payment_method"
    return {"agile.csv": "\n".join([header, *reversed(rows)]) + "\n"}


DOWNLOADS = {
    "entsoe": Download(entsoe, ("env.data.format=entsoe", 'env.data.read.where={Area: "BZN|FR"}')),
    "entsoe_old": Download(entsoe_old, ("env.data.format=entsoe_old",)),
    "smard": Download(smard, ("env.data.format=smard",)),
    "aemo": Download(aemo, ("env.data.format=aemo", "env.data.read.where={REGIONID: NSW1, INTERVENTION: 0}"), 5),
    "aemo_price_demand": Download(aemo_price_demand, ("env.data.format=aemo_price_demand",), 30),
    "ercot": Download(
        gridstatus("America/Chicago", "SPP", "HB_HOUSTON"),
        ("env.data.format=ercot", "env.data.read.where={Location: HB_HOUSTON}"),
    ),
    "caiso": Download(
        gridstatus("America/Los_Angeles", "LMP", "TH_SP15_GEN-APND"),
        ("env.data.format=caiso", "env.data.read.where={Location: TH_SP15_GEN-APND}"),
    ),
    "nyiso": Download(
        gridstatus("America/New_York", "LMP", "N.Y.C."),
        ("env.data.format=nyiso", "env.data.read.where={Location: N.Y.C.}"),
    ),
    "omie": Download(omie, ("env.data.format=omie",)),
    "nordpool": Download(nordpool, ("env.data.format=nordpool", 'env.data.columns.price="SE3 (EUR)"')),
    "energy_charts": Download(energy_charts, ("env.data.format=energy_charts",)),
    "octopus_agile": Download(octopus_agile, ("env.data.format=octopus_agile",), 30),
}


def place(folder: Path, files: dict[str, str]) -> Path:
    """Writes the files; where they are several, the folder that they share."""
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(text.encode())
    first = folder / next(iter(files))
    return first.parent if len(files) > 1 else first
