// What every part of the report uses: the data, elements made from text alone (never from markup), numbers, colours.
const D = JSON.parse(document.getElementById("data").textContent);
const P = D.points, COUNT = P.name.length;
const byId = (id) => document.getElementById(id);

function put(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes || {})) if (value !== null) node.setAttribute(key, value);
  for (const child of children) if (child !== null) node.append(child);
  return node;
}
const make = (tag, attributes, ...children) => put(document.createElement(tag), attributes, children);
const draw = (tag, attributes, ...children) =>
  put(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
const clear = (node) => { while (node.firstChild) node.firstChild.remove(); return node; };
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

const whole = (n) => n.toLocaleString("en-US");
const fixed = (n, digits) => (n === null || n === undefined ? "–" : n.toFixed(digits));
function size(bytes) {
  for (const [unit, least] of [["GB", 1e9], ["MB", 1e6], ["KB", 1e3]])
    if (bytes >= least) return Number((bytes / least).toPrecision(3)) + " " + unit;
  return bytes + " B";
}

// Pixels that a text takes in a picture.
const ruler = document.createElement("canvas").getContext("2d");
function textWidth(text, px) {
  ruler.font = `${px || 12}px ${getComputedStyle(document.body).fontFamily}`;
  return ruler.measureText(text).width;
}

// Piecewise-linear colour scales. Bits: pale means few; damage: dark means much.
const BITS = ["#fff3c4", "#f9d576", "#9fd3a0", "#43a9a6", "#23779e", "#233f73", "#141b3c"];
const HEAT = ["#f4f6f8", "#fde3b8", "#f9b06a", "#e8703f", "#b73a32", "#6d1a2b"];
function ramp(stops, share) {
  const at = Math.min(Math.max(share, 0), 1) * (stops.length - 1), low = Math.min(Math.floor(at), stops.length - 2);
  const channel = (hex, n) => parseInt(hex.slice(1 + 2 * n, 3 + 2 * n), 16);
  const mixed = [0, 1, 2].map((n) =>
    Math.round(channel(stops[low], n) + (at - low) * (channel(stops[low + 1], n) - channel(stops[low], n))));
  return "rgb(" + mixed.join(",") + ")";
}
const bitsShare = (bits) => Math.log2(Math.max(bits, 1)) / 4; // 1 to 16 bits a weight
const bitsColour = (bits) => (bits === null ? colour("faint") : ramp(BITS, bitsShare(bits)));
function bitsOf(unit, level) {
  const known = D.bits[unit] && D.bits[unit][level];
  if (known !== undefined) return known;
  const nominal = D.nominal[level];
  return nominal === undefined ? null : nominal;
}

const shortVocabulary = (name) => name.split(":").slice(0, 2).join(":"); // without the digest

// A policy as the report holds it: for each unit the index of its level, -1 where its layer is dropped.
const policyOf = (i) => D.policies[i] || null;
function summary(policy) {
  const counts = new Map();
  policy.forEach((level) => { if (level >= 0) counts.set(level, (counts.get(level) || 0) + 1); });
  const levels = [...counts].sort((a, b) => b[1] - a[1]).map(([level, n]) => D.levels[level] + " ×" + n);
  return levels.slice(0, 7).join(", ") + (levels.length > 7 ? " and " + (levels.length - 7) + " more" : "");
}
function droppedOf(policy) {
  const gone = new Set();
  policy.forEach((level, u) => { if (level < 0) gone.add(D.units[u].layer); });
  return [...gone];
}
