"use strict";

const content = JSON.parse(document.getElementById("data").textContent);
const chosen = Object.fromEntries(Object.entries(content.filters).map(([name, values]) => [name, new Set(values)]));
const views = new Map();
const NARROWEST = 330; // pixels of a panel and its axis
const LEAST_WIDTH = 120; // of a panel alone
const ERRORS_ONLY = 1; // of the levels of Vega's log
const LEAST = 0.1; // percent: a logarithmic axis has no place for nought
const MOST_ROWS = 300; // of a table; the CSV has all

const passes = (row, names) => names.every((name) => !(name in chosen) || !(name in row) || chosen[name].has(row[name]));
const kept = () => content.experiments.filter((row) => passes(row, Object.keys(chosen)));

// What a chart shows: each source is filtered by what it knows.
const sources = {
  experiments: kept,
  ratios: () => content.ratios.filter((row) => passes(row, ["run", "cell", "readout"])),
  curves: () => kept().flatMap(curveRows),
  costs: () => kept().flatMap((row) => [costRow(row, "parameters", row.parameters), costRow(row, "multiply-adds", row.multiply_adds)]),
};
const rowsOf = (name) => (sources[name] ?? (() => content.datasets[name]))();

function curveRows(row) {
  const [updates, training, validation] = content.curves[row.experiment] ?? [[], [], []];
  const own = { cell: row.cell, arm: row.arm, n: row.n, condition: row.condition, panel: row.panel };
  const shown = (errors, kind) =>
    updates.map((update, place) => ({ ...own, update, kind, error: errors[place] === null ? null : Math.max(errors[place], LEAST) }));
  return [...shown(training, "training"), ...shown(validation, "validation")].filter((point) => point.error !== null);
}

const costRow = (row, quantity, cost) => ({ ...row, quantity, cost, of_condition: [row.condition, quantity].filter(Boolean).join(", ") });

const isDark = () => document.documentElement.dataset.theme === "dark";

function theme() {
  const [text, line] = isDark() ? ["#cfd5de", "#38414d"] : ["#3a4452", "#e3e6ea"];
  const font = getComputedStyle(document.body).fontFamily;
  return {
    background: "transparent",
    font,
    axis: { labelColor: text, titleColor: text, gridColor: line, domainColor: line, tickColor: line, labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal" },
    legend: { labelColor: text, titleColor: text, orient: "top", labelFontSize: 13, symbolSize: 90, symbolOpacity: 1, symbolBaseFillColor: text, columns: innerWidth < 600 ? 1 : 4 },
    header: { labelColor: text, labelFontSize: 13 },
    view: { stroke: "transparent" },
    rule: { strokeWidth: 1.6 },
  };
}

// Conditions, and then training images. Panels stand in the order of their rows, if they are given one at all.
function inOrder(rows, field) {
  const conditions = [...new Set(rows.map((row) => row.condition))];
  const rank = (row) => conditions.indexOf(row.condition) * 1e9 + row.n;
  return field === "panel" && conditions[0] !== undefined ? rows.toSorted((one, other) => rank(one) - rank(other)) : rows;
}

// Panels as wide as the page allows; black, which dark pages have no use for, turned round.
function fitted(name, width, rows, narrower) {
  const text = JSON.stringify(content.charts[name]);
  const spec = JSON.parse(isDark() ? text.replaceAll('"#000000"', '"#ffffff"') : text);
  if (!spec.facet) {
    return { ...spec, width: Math.max(LEAST_WIDTH, Math.min(width - 190, 900) - narrower), autosize: { type: "pad" } };
  }
  spec.params[0].value = content.quantiles;
  spec.facet.sort = [...new Set(rows.map((row) => row[spec.facet.field]))];
  const panels = spec.facet.sort.length;
  spec.columns = Math.max(1, Math.min(panels, name === "cost" ? 2 : 3, Math.floor(width / NARROWEST)));
  const fits = Math.min(panels === 1 ? 960 : 560, Math.floor(width / spec.columns) - 60);
  spec.spec.width = Math.max(LEAST_WIDTH, fits - Math.ceil(narrower / spec.columns));
  return spec;
}

// Only when it is drawn is it known how much room axes and legend take: what is too wide is drawn again, narrower.
async function draw(section, narrower = 0) {
  const place = section.querySelector(".chart");
  const { data, facet } = content.charts[section.id];
  const rows = inOrder(rowsOf(data.name), facet?.field);
  const spec = fitted(section.id, place.clientWidth, rows, narrower);
  spec.datasets = { [spec.data.name]: rows };
  views.get(section.id)?.finalize();
  const { view } = await vegaEmbed(place, spec, { actions: false, renderer: "svg", logLevel: ERRORS_ONLY, config: theme(), tooltip: { theme: isDark() ? "dark" : "light" } });
  views.set(section.id, view);
  const excess = place.scrollWidth - place.clientWidth;
  if (excess > 0 && !narrower) return draw(section, excess);
  section.dataset.drawn = "yes";
}

// Figures are drawn when they come near, so that the first is there at once.
const observer = new IntersectionObserver(
  (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => {
    observer.unobserve(entry.target);
    draw(entry.target);
  }),
  { rootMargin: "300px" },
);

function redraw() {
  for (const section of document.querySelectorAll(".figure")) {
    observer.unobserve(section);
    observer.observe(section);
  }
  for (const name of Object.keys(tables)) fill(name);
  for (const section of document.querySelectorAll("[data-verdict]")) {
    section.hidden = "verdict" in chosen && !chosen.verdict.has(section.dataset.verdict);
  }
}

function arms() {
  const groups = Map.groupBy(kept(), (row) => JSON.stringify([row.run, row.condition, row.arm, row.n]));
  return [...groups.values()].map((rows) => {
    const values = rows.map((row) => row.accuracy).filter((value) => value !== null);
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1);
    const half = values.length > 1 ? content.quantiles[values.length] * Math.sqrt(variance / values.length) : null;
    const { run, condition, arm, n, parameters, multiply_adds } = rows[0];
    const known = values.length ? mean : null;
    return { arm, run, condition, n, parameters, multiply_adds, accuracy: known, half, seeds: values.length, diverged: rows.length - values.length };
  });
}

const tables = {
  differences: () => content.differences.filter((row) => passes(row, ["run", "cell", "readout", "n"])).map(({ cell, readout, ...row }) => row),
  arms,
  experiments: () => kept().map(({ line, leading, panel, place, delta_rank, delta_place, ...row }) => ({ arm: row.arm, ...row })),
};
const PERCENTAGES = new Set(["error", "accuracy", "half", "difference", "training_accuracy"]);
const WORDS = {
  n: "training images",
  accuracy: "test accuracy, %",
  half: "± half of the interval",
  error: "test error, %",
  training_accuracy: "training accuracy, %",
  difference: "difference, points",
  verdict: "the arm is",
  multiply_adds: "multiply-adds of an image",
  seconds: "seconds of training",
};
const words = (name) => WORDS[name] ?? name.replaceAll("_", " ");
const told = (value, column) => (PERCENTAGES.has(column) && value !== null ? value.toFixed(2) : value === null ? "" : typeof value !== "number" ? value : Number.isInteger(value) ? value.toLocaleString("en") : value.toPrecision(3));

function columnsOf(rows) {
  return Object.keys(rows[0] ?? {}).filter((name) => rows.some((row) => row[name] !== "") && (name !== "run" || "run" in chosen));
}

function fill(name) {
  const place = document.querySelector(`#${name} .rows`);
  if (!place) return;
  const rows = tables[name]();
  const columns = columnsOf(rows);
  const table = document.createElement("table");
  const head = table.createTHead().insertRow();
  for (const column of columns) head.append(Object.assign(document.createElement("th"), { textContent: words(column) }));
  const body = table.createTBody();
  for (const row of rows.slice(0, MOST_ROWS)) {
    const line = body.insertRow();
    for (const column of columns) line.insertCell().textContent = told(row[column], column);
  }
  const more = Object.assign(document.createElement("p"), { textContent: rows.length > MOST_ROWS ? `${rows.length - MOST_ROWS} more rows are in the CSV file.` : "" });
  place.replaceChildren(table, more);
}

function download(name, href) {
  Object.assign(document.createElement("a"), { href, download: name }).click();
}

function save(text, type, name) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  download(name, address);
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

const quoted = (value) => (value === null ? "" : /[",\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : value);

document.addEventListener("click", async (event) => {
  const kind = event.target.dataset?.save;
  if (!kind) return;
  const name = event.target.closest("section").id;
  if (kind === "csv") {
    const rows = tables[name]();
    const columns = Object.keys(rows[0] ?? {});
    save([columns, ...rows.map((row) => columns.map((column) => row[column]))].map((row) => row.map(quoted).join(",")).join("\n") + "\n", "text/csv", `${name}.csv`);
  } else if (kind === "svg") {
    save(await views.get(name).toSVG(), "image/svg+xml", `${name}.svg`);
  } else {
    download(`${name}.png`, await views.get(name).toImageURL("png", 2));
  }
});

for (const [name, values] of Object.entries(content.filters)) {
  const group = document.createElement("div");
  group.append(Object.assign(document.createElement("span"), { textContent: words(name) }));
  for (const value of values) {
    const button = Object.assign(document.createElement("button"), { textContent: told(value) });
    button.dataset.filter = name;
    button.setAttribute("aria-pressed", "true");
    button.addEventListener("click", () => {
      const on = chosen[name];
      on.has(value) ? on.delete(value) : on.add(value);
      if (!on.size) on.add(value); // nothing at all is nothing to look at
      button.setAttribute("aria-pressed", String(on.has(value)));
      redraw();
    });
    group.append(button);
  }
  document.getElementById("filters").append(group);
}

function setTheme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  redraw();
}

const preference = matchMedia("(prefers-color-scheme: dark)");
preference.addEventListener("change", () => setTheme(preference.matches));
document.getElementById("theme").addEventListener("click", () => setTheme(!isDark()));
setTheme(preference.matches);

let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth === width) return; // phones change their height as one scrolls
  width = innerWidth;
  redraw();
});
