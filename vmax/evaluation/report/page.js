// Draws the figures of a report and works its controls. All data stand in the element "data"; nothing is requested.
"use strict";
(() => {
  const { figures, views } = JSON.parse(document.getElementById("data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 640px)");
  const touch = matchMedia("(pointer: coarse)").matches;
  const PRINTED_WIDTH = 680; // px: A4 within its margins
  let printing = false;

  const theme = () =>
    dark.matches && !printing
      ? {
          "@ink": "#e4e9ee", "@muted": "#9aa7b3", "@grid": "#2b343d", "@paper": "#14181c",
          "#1565c0": "#4a9eff", "#2e8b57": "#4fbf83", "#8e6bbf": "#b494e6", "#d81b60": "#ff5c93", "#546e7a": "#90a4ae",
          "#b71c1c": "#ff7961",
        }
      : { "@ink": "#263238", "@muted": "#5b6670", "@grid": "#e3e6ea", "@paper": "#ffffff" };

  /** A copy of a figure in which colours like "@ink" are those of the theme. */
  function themed(value, colours) {
    if (Array.isArray(value)) return typeof value[0] === "number" ? value : value.map((x) => themed(x, colours));
    if (value && typeof value === "object" && !(value instanceof Date))
      return Object.fromEntries(Object.entries(value).map(([key, x]) => [key, themed(x, colours)]));
    return colours[value] ?? value;
  }

  function layoutOf(own, colours) {
    const axis = { gridcolor: "@grid", zerolinecolor: "@grid", linecolor: "@muted", automargin: true };
    const layout = {
      font: { family: "system-ui, -apple-system, Segoe UI, Roboto, Arial, sans-serif", size: 12, color: "@ink" },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      margin: { l: 56, r: 16, t: 12, b: 44 },
      hoverlabel: { bgcolor: "@paper", bordercolor: "@muted", font: { color: "@ink" } },
      dragmode: touch ? false : "zoom",
      autosize: true,
      ...own,
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, ...(own.legend ?? {}) },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: "@muted", activecolor: "@ink" },
    };
    if (narrow.matches) layout.margin = { ...layout.margin, l: 44, r: 8 };
    for (const key of Object.keys(layout)) {
      if (/^[xy]axis\d*$/.test(key)) layout[key] = { ...axis, ...layout[key], ...(touch ? { fixedrange: true } : {}) };
    }
    if (printing) layout.width = PRINTED_WIDTH;
    return themed(layout, colours);
  }

  const config = {
    responsive: true, displaylogo: false, displayModeBar: touch ? false : "hover",
    modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]],
  };
  const redraws = []; // functions that draw a figure anew: for another theme, on paper

  function draw(place, make) {
    const redraw = () => {
      const { data, layout } = make();
      return Plotly.react(place, themed(data, theme()), layoutOf(layout, theme()), config);
    };
    redraws.push(redraw);
    return redraw();
  }

  const element = (name, attributes = {}, ...children) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key === "style") made.style.cssText = value;
      else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
      else made.setAttribute(key, value);
    }
    made.append(...children);
    return made;
  };

  // --- the dispatch: price, power and charge over time ----------------------------------------------------------------

  const DAY = 86_400_000;
  const stamp = (ms) => new Date(ms).toISOString().slice(0, 16).replace("T", " ");

  /** Local times of all steps as if they were UTC, so that axes show the clock of the market. */
  function times(runs, stepMs) {
    const all = [];
    for (const [first, count] of runs) {
      const start = Date.parse(`${first}Z`);
      for (let i = 0; i < count; i++) all.push(stamp(start + i * stepMs));
    }
    return all;
  }

  function dispatch(host, view) {
    const x = times(view.runs, view.step_h * 3_600_000);
    const ms = (text) => Date.parse(`${text.replace(" ", "T")}Z`);
    const first = Math.floor(ms(x[0]) / DAY) * DAY, end = ms(x[x.length - 1]) + view.step_h * 3_600_000;
    const shown = new Set(view.policies.filter((policy) => policy.shown).map((policy) => policy.name));
    let from = Math.max(first, Date.parse(`${view.opening}T00:00Z`)), to = Math.min(from + 7 * DAY, end);

    const place = element("div", { class: "plot", style: `height:${narrow.matches ? 560 : 640}px` });
    const toggles = view.policies.map((policy) =>
      element(
        "button",
        {
          class: "toggle", type: "button", "aria-pressed": shown.has(policy.name), "data-policy": policy.name,
          style: `--colour:${themed(policy.colour, theme())}`,
          onclick: (event) => {
            if (!shown.delete(policy.name)) shown.add(policy.name);
            event.currentTarget.setAttribute("aria-pressed", shown.has(policy.name));
            redraw();
          },
        },
        element("span", { class: "swatch" }), policy.label
      )
    );
    const go = (start, days = 7) => {
      from = Math.min(Math.max(start, first), Math.max(end - days * DAY, first));
      to = Math.min(from + days * DAY, end);
      redraw();
    };
    const back = element("button", { type: "button", "data-go": "back", onclick: () => go(from - 7 * DAY) }, "‹ week");
    const on = element("button", { type: "button", "data-go": "on", onclick: () => go(from + 7 * DAY) }, "week ›");
    const date = element("input", {
      type: "date", "aria-label": "First day shown", min: stamp(first).slice(0, 10), max: stamp(end - 1).slice(0, 10),
      onchange: (event) => event.target.value && go(Date.parse(`${event.target.value}T00:00Z`)),
    });
    const all = element("button", { type: "button", "data-go": "all", onclick: () => go(first, (end - first) / DAY) }, "all");
    const jumps = view.weeks.map(({ label, day }) =>
      element("button", { type: "button", onclick: () => go(Date.parse(`${day}T00:00Z`)) }, label)
    );
    host.append(
      element("div", { class: "controls", role: "group", "aria-label": "Policies" }, ...toggles),
      element("div", { class: "controls", role: "group", "aria-label": "Time" }, back, date, on, all, ...jumps),
      place
    );

    const line = (name, values, colour, axis, extra = {}) => ({
      type: "scatter", mode: "lines", name, x, y: values, yaxis: axis.y, xaxis: axis.x, showlegend: false,
      line: { color: colour, width: 1.7, shape: "hv" }, ...extra,
    });
    /** The lowest and the highest price between two times, with a margin; times as texts are ordered as they are. */
    function priceRange([start, stop]) {
      let low = Infinity, high = -Infinity;
      for (let i = 0; i < x.length; i++)
        if (x[i] >= start && x[i] < stop && view.price[i] !== null)
          (low = Math.min(low, view.price[i])), (high = Math.max(high, view.price[i]));
      if (low > high) return undefined;
      const margin = 0.08 * (high - low || 1);
      return [Math.min(low, 0) - margin, high + margin];
    }
    const AXES = { power: { x: "x", y: "y" }, charge: { x: "x2", y: "y2" }, price: { x: "x3", y: "y3" } };
    function make() {
      const data = [];
      if (view.pv)
        data.push(line("PV", view.pv, "#f5b342", AXES.power, { line: { width: 0, shape: "hv" }, fill: "tozeroy",
          fillcolor: "rgba(245,179,66,0.3)", hovertemplate: "%{y:.2f} MW" }));
      view.policies.forEach((policy, index) => {
        const visible = shown.has(policy.name);
        data.push(line(policy.label, policy.power, policy.colour, AXES.power, {
          visible, hovertemplate: "%{y:.2f} MW", showlegend: printing, ...(index === 0 ? { fill: "tozeroy", fillcolor: policy.fill } : {}),
        }));
        data.push(line(policy.label, policy.charge, policy.colour, AXES.charge, {
          visible, line: { color: policy.colour, width: 1.7, shape: "linear" }, hovertemplate: "%{y:.0f} %",
        }));
      });
      const range = [stamp(from), stamp(to)];
      data.push(line("price", view.price, "@ink", AXES.price, { hovertemplate: `%{y:.2f} ${view.price_unit}` }));
      const time = { type: "date", range, showgrid: true };
      const title = (text, y) => ({
        text, x: 0, y, xref: "paper", yref: "paper", xanchor: "left", yanchor: "bottom", showarrow: false,
        font: { size: 12, color: "@muted" },
      });
      const layout = {
        hovermode: "x unified",
        hoversubplots: "axis",
        margin: { l: 52, r: 14, t: 24, b: 30 },
        legend: { y: 1.06 },
        grid: { rows: 3, columns: 1 },
        xaxis: { ...time, matches: "x3", showticklabels: false, anchor: "y" },
        xaxis2: { ...time, matches: "x3", showticklabels: false, anchor: "y2" },
        xaxis3: {
          ...time, anchor: "y3", tickformat: to - from > 21 * DAY ? "%b %Y" : "%a %d\n%b %Y",
          rangeslider: {
            visible: true, thickness: 0.07, bgcolor: "rgba(0,0,0,0)", range: [stamp(first), stamp(end)],
            yaxis3: { rangemode: "fixed", range: priceRange(["", "~"]) },
          },
        },
        yaxis: { domain: [0.72, 1], zeroline: true, zerolinecolor: "@muted" },
        yaxis2: { domain: [0.42, 0.66], range: [0, 100] },
        yaxis3: { domain: [0.12, 0.36], zeroline: true, zerolinecolor: "@muted", range: priceRange(range) },
        annotations: [
          title("power, MW (discharge above 0)", 1), title("state of charge, %", 0.66), title(`price, ${view.price_unit}`, 0.36),
        ],
      };
      return { data, layout };
    }
    let redraw = () => {};
    const later = draw(place, make).then(() => {
      place.on("plotly_relayout", (change) => {
        if (Object.keys(change).some((key) => /^xaxis\d*\.autorange$/.test(key))) return go(first, (end - first) / DAY);
        const range = place.layout.xaxis3.range.map(String);
        const [start, stop] = range.map((text) => ms(text.slice(0, 16)));
        if (start === from && stop === to) return; // what this page has set itself
        from = start;
        to = stop;
        redraw();
      });
    });
    const follow = () => {
      date.value = stamp(from).slice(0, 10);
      back.disabled = from <= first;
      on.disabled = to >= end;
      host.dataset.from = stamp(from);
      host.dataset.shown = [...shown].join(" ");
    };
    const own = redraws[redraws.length - 1];
    redraw = () => { follow(); own(); };
    follow();
    return later;
  }

  // --- one figure out of many ------------------------------------------------------------------------------------------

  function chooser(host, view) {
    const place = element("div", { class: "plot", style: `height:${view.height}px` });
    const names = Object.keys(view.options);
    const select = element("select", { "aria-label": view.label }, ...names.map((name) => element("option", { value: name }, name)));
    host.append(element("div", { class: "controls" }, select), place);
    const drawn = draw(place, () => view.options[select.value]);
    const own = redraws[redraws.length - 1];
    select.addEventListener("change", () => own());
    return drawn;
  }

  const VIEWS = { dispatch, chooser };

  async function drawAll() {
    for (const place of document.querySelectorAll("[data-figure], [data-view]")) {
      const { figure, view } = place.dataset;
      await (figure ? draw(place, () => figures[figure]) : VIEWS[views[view].kind](place, views[view]));
      await new Promise((next) => setTimeout(next)); // lets the page answer between two figures
    }
    document.body.dataset.drawn = "all";
  }

  const redrawAll = () => redraws.forEach((redraw) => redraw());
  dark.addEventListener("change", redrawAll);
  narrow.addEventListener("change", redrawAll);
  addEventListener("beforeprint", () => { printing = true; redrawAll(); });
  addEventListener("afterprint", () => { printing = false; redrawAll(); });
  drawAll();
})();
