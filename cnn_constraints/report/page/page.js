"use strict";

const content = JSON.parse(document.getElementById("data").textContent);
const hidden = new Map(content.filters.map(([field]) => [field, new Set()]));
const views = new Map();
const NARROW = 600; // pixels: of a phone
const NARROWEST = 330; // pixels of a panel and its axis
const LETTER = 7; // pixels
const ERRORS_ONLY = 1; // of the levels of Vega's log
const MOST_ROWS = 300; // of a table; the CSV has all
const SMALL = new Set(["learning_rate", "weight_decay"]); // numbers
const KINDS = { arms: "arm", experiments: "experiment" };

// A row that knows nothing of a field is not hidden by it.
const isShown = (row) => [...hidden].every(([field, values]) => !values.has(row[field]));
const rowsOf = (name) => (content.rows[name] ?? content.rows.marks.filter((row) => row.kind === KINDS[name])).filter(isShown);
const element = (name, properties) => Object.assign(document.createElement(name), properties);
const lettersOfLine = (width) => Math.max(18, Math.floor(width / 16));

// The page's own colour, light or dark; in a file that is saved it is black.
const TEXT = "currentColor";
const AXIS = { labelColor: TEXT, titleColor: TEXT, gridColor: TEXT, gridOpacity: 0.13, domainColor: TEXT, domainOpacity: 0.3, tickColor: TEXT, tickOpacity: 0.3 };
const LEGEND = { labelColor: TEXT, titleColor: TEXT, orient: "top", labelFontSize: 13, symbolSize: 90, symbolOpacity: 1, symbolBaseFillColor: TEXT, symbolBaseStrokeColor: TEXT };

function theme(width, spec) {
  const names = spec.spec.layer.map((layer) => layer.encoding.color?.scale?.domain).find(Boolean) ?? [];
  const longest = Math.max(...names.flatMap((name) => name.split("\n").map((line) => line.length)));
  // A legend begins where the first panel does, beside names that may take a third of a phone.
  const columns = Math.max(1, Math.min(6, Math.floor((width < NARROW ? 0.65 * width : width - 100) / (longest * LETTER + 25))));
  return {
    background: "transparent",
    font: getComputedStyle(document.body).fontFamily,
    lineBreak: "\n",
    axis: { ...AXIS, labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal" },
    legend: { ...LEGEND, columns, layout: { top: { direction: width < NARROW ? "vertical" : "horizontal", anchor: "start" } } },
    header: { labelColor: TEXT, labelFontSize: 13 },
    view: { stroke: "transparent" },
    rule: { strokeWidth: 1.6 },
  };
}

// Names of arms are broken into lines where the page is narrow, in rows and charts alike.
function broken(value, width) {
  const lines = new RegExp(`(.{1,${lettersOfLine(width)}})(?: +|$)`, "g");
  const names = new Map(content.names.map((name) => [name, name.replace(lines, "$1\n").trimEnd()]));
  return JSON.parse(JSON.stringify(value), (key, one) => names.get(one) ?? one);
}

// Panels as wide as the page allows.
function fitted(name, width, narrower) {
  const { $schema, config, ...spec } = structuredClone(content.charts[name]);
  const rows = rowsOf(spec.data.name);
  const isCost = name === "cost";
  const panels = new Set(rows.map((row) => row[isCost ? "panel" : spec.facet.field])).size * (isCost ? 2 : 1);
  spec.columns = Math.max(1, Math.min(panels, isCost ? 2 : 3, Math.floor(width / NARROWEST)));
  const fits = Math.min(panels === 1 ? 960 : 560, Math.floor(width / spec.columns) - 60);
  spec.spec.width = Math.max(100, fits - Math.ceil(narrower / spec.columns));
  const found = broken({ ...spec, datasets: { [spec.data.name]: rows } }, width);
  const lines = Math.max(...rows.map((row) => broken(row.arm ?? "", width).split("\n").length));
  if (found.spec.height.step) found.spec.height.step = Math.max(found.spec.height.step, 13 * lines + 8);
  return found;
}

// Only when it is drawn is it known how much room axes and legend take: what is too wide is drawn again, narrower.
async function draw(section, narrower = 0) {
  const place = section.querySelector(".chart");
  const spec = fitted(section.id, place.clientWidth, narrower);
  const options = { mode: "vega-lite", actions: false, renderer: "svg", logLevel: ERRORS_ONLY, config: theme(place.clientWidth, spec) };
  views.get(section.id)?.finalize();
  views.set(section.id, (await vegaEmbed(place, spec, options)).view);
  const excess = place.scrollWidth - place.clientWidth;
  if (excess > 0 && !narrower) return draw(section, excess);
  section.dataset.drawn = "yes";
}

let turn = 0;

async function redraw() {
  const own = ++turn;
  for (const name of Object.keys(content.tables ?? {})) fill(name);
  for (const section of document.querySelectorAll("[data-verdict]")) section.hidden = !isShown(section.dataset);
  for (const section of document.querySelectorAll(".figure:not([hidden])")) {
    if (own === turn) await draw(section);
  }
}

function formatOf(field, values) {
  if (field === "p_adjusted") return (value) => (value < 0.001 ? "<0.001" : value.toFixed(3));
  if (SMALL.has(field)) return (value) => String(Number(value.toPrecision(3)));
  const digits = values.every((value) => typeof value !== "number" || Number.isInteger(value)) ? 0 : 2;
  return (value) => value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

function fill(name) {
  const rows = rowsOf(name);
  const isKnown = (value) => (value ?? "") !== "";
  const columns = content.tables[name].filter(([field]) => rows.some((row) => isKnown(row[field])));
  const table = element("table");
  const head = table.createTHead().insertRow();
  const body = table.createTBody();
  const lines = rows.slice(0, MOST_ROWS).map(() => body.insertRow());
  for (const [field, heading] of columns) {
    const values = rows.map((row) => row[field]);
    const format = formatOf(field, values);
    const className = values.some((value) => typeof value === "string") ? "words" : "";
    head.append(element("th", { textContent: heading, className }));
    lines.forEach((line, place) => {
      const value = values[place];
      const textContent = !isKnown(value) ? "" : typeof value === "number" ? format(value) : value;
      line.append(element("td", { textContent, className: field === "verdict" ? `words verdict ${value}` : className }));
    });
  }
  const more = rows.length > MOST_ROWS ? `${rows.length - MOST_ROWS} more rows are in the CSV file.` : "";
  document.querySelector(`#${name} .rows`).replaceChildren(table, element("p", { textContent: more }));
}

function csv(name) {
  const fields = content.tables[name].map(([field]) => field);
  const quoted = (value) => (/[",\n]/.test(value ?? "") ? `"${String(value).replaceAll('"', '""')}"` : (value ?? ""));
  return [fields, ...rowsOf(name).map((row) => fields.map((field) => row[field]))].map((line) => line.map(quoted).join(",") + "\n").join("");
}

document.addEventListener("click", async (event) => {
  const kind = event.target.dataset?.save;
  if (!kind) return;
  const name = event.target.closest("section").id;
  const text = kind === "csv" ? csv(name) : kind === "svg" ? await views.get(name).toSVG() : "";
  const href = kind === "png" ? await views.get(name).toImageURL("png", 2) : URL.createObjectURL(new Blob([text]));
  element("a", { href, download: `${name}.${kind}` }).click();
});

for (const [field, words, values] of content.filters) {
  const group = element("div");
  group.append(element("span", { textContent: words }));
  for (const value of values) {
    const button = element("button", { textContent: value, ariaPressed: "true" });
    button.dataset.filter = field;
    button.addEventListener("click", () => {
      const off = hidden.get(field);
      off.has(value) ? off.delete(value) : off.add(value);
      if (off.size === values.length) off.delete(value); // nothing at all is nothing to look at
      button.ariaPressed = String(!off.has(value));
      redraw();
    });
    group.append(button);
  }
  document.getElementById("filters").append(group);
}

const preference = matchMedia("(prefers-color-scheme: dark)");
const setTheme = (dark) => (document.documentElement.dataset.theme = dark ? "dark" : "light");
preference.addEventListener("change", () => setTheme(preference.matches));
document.getElementById("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme !== "dark"));
setTheme(preference.matches);

let width = 0;
const fit = () => width !== innerWidth && ((width = innerWidth), redraw()); // phones change their height as one scrolls
addEventListener("resize", fit);
fit();
