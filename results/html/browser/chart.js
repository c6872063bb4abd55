// The front: bytes on a log axis, COMET upwards. Points on a canvas, what has a meaning of its own in SVG over it.
// The bins asked for, where there is anything in them; "everything" is one click away.
const inTargets = (i) => D.bins.some((bin) => bin.target && P.bytes[i] >= bin.low && P.bytes[i] < bin.high);
const chart = { view: D.front.some(inTargets) ? "bins" : "all", hover: -1, picked: -1, onPick: null };
const onFront = new Set(D.front);
const kindOf = (i) =>
  P.status[i] !== "scored" ? P.status[i] : P.name[i] === "original" || P.recipe[i] === "original" ? "original"
    : P.recipe[i] === "search" ? "search" : "recipe";

function extent() {
  const targets = D.bins.filter((bin) => bin.target);
  let low = Infinity, high = 0, bottom = Infinity, top = -Infinity;
  // A candidate that failed before its bytes were known has 0, which has no place on a log axis.
  const near = (i) => P.bytes[i] > 0 &&
    (chart.view === "all" || targets.some((bin) => P.bytes[i] >= bin.low && P.bytes[i] < bin.high));
  for (let i = 0; i < COUNT; i++) if (near(i)) {
    low = Math.min(low, P.bytes[i]); high = Math.max(high, P.bytes[i]);
    if (P.comet[i] === null) continue;
    const whole = onFront.has(i) && P.low[i] !== null; // with its interval
    bottom = Math.min(bottom, whole ? P.low[i] : P.comet[i]); top = Math.max(top, whole ? P.high[i] : P.comet[i]);
  }
  if (chart.view === "bins") {
    low = Math.min(low, ...targets.map((b) => b.low || low)); high = Math.max(high, ...targets.map((b) => b.high));
  }
  if (!isFinite(low)) { low = 1; high = 10; }
  if (!isFinite(bottom)) { bottom = 0; top = 1; }
  const across = Math.max(Math.log(high / low), 0.2) * 0.04, up = Math.max(top - bottom, 0.02) * 0.07;
  return { low: Math.log(low) - across, high: Math.log(high) + across, bottom: bottom - up, top: top + up };
}

function frame() {
  const stage = byId("stage"), width = stage.clientWidth, height = Math.max(360, Math.min(560, width * 0.5));
  const e = extent(), left = 56, right = 14, above = 26, below = 40;
  return {
    width, height, left, right, above, below, e,
    x: (bytes) => left + (width - left - right) * (Math.log(bytes) - e.low) / (e.high - e.low),
    y: (comet) => height - below - (height - above - below) * (comet - e.bottom) / (e.top - e.bottom),
  };
}

function ticks(low, high, about) {
  const step = 10 ** Math.floor(Math.log10((high - low) / about));
  const good = [1, 2, 5, 10].map((n) => n * step).find((s) => (high - low) / s <= about) || 10 * step;
  const marks = [];
  for (let n = Math.ceil(low / good); n * good <= high; n++) marks.push(Number((n * good).toPrecision(6)));
  return marks;
}
function logTicks(e) {
  for (const steps of [[1], [1, 3], [1, 2, 5], [1, 1.5, 2, 3, 4, 5, 6, 8], [1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5, 6, 7, 8, 9]]) {
    const marks = [];
    for (let d = Math.floor(e.low / Math.LN10); d <= e.high / Math.LN10; d++)
      for (const s of steps) { const at = s * 10 ** d; if (Math.log(at) >= e.low && Math.log(at) <= e.high) marks.push(at); }
    if (marks.length > 5) return marks;
  }
  return ticks(Math.exp(e.low), Math.exp(e.high), 7);
}

function paint(f) {
  const canvas = byId("cloud"), scale = window.devicePixelRatio || 1;
  canvas.width = f.width * scale; canvas.height = f.height * scale;
  canvas.style.width = f.width + "px"; canvas.style.height = f.height + "px";
  const c = canvas.getContext("2d");
  c.scale(scale, scale);
  D.bins.forEach((bin, n) => {
    const a = Math.max(f.x(Math.max(bin.low, 1)), f.left), b = Math.min(f.x(bin.high), f.width - f.right);
    if (b <= a || (!bin.target && n % 2)) return;
    c.fillStyle = colour(bin.target ? "target" : "band");
    c.fillRect(a, f.above, b - a, f.height - f.above - f.below);
  });
  c.beginPath(); c.rect(f.left, f.above, f.width - f.left - f.right, f.height - f.above - f.below); c.clip();
  const cloud = colour("cloud"), heldOut = colour("recipe");
  for (let i = 0; i < COUNT; i++) {
    const kind = kindOf(i);
    if (onFront.has(i) || kind === "recipe" || kind === "original") continue;
    const x = f.x(P.bytes[i]);
    c.globalAlpha = kind === "search" ? 0.55 : kind === "held-out" ? 0.9 : 0.3;
    c.strokeStyle = c.fillStyle = kind === "held-out" ? heldOut : cloud;
    c.beginPath();
    if (P.comet[i] === null) { c.moveTo(x, f.height - f.below - 7); c.lineTo(x, f.height - f.below); c.stroke(); }
    else if (kind === "search") { c.arc(x, f.y(P.comet[i]), 2.6, 0, 7); c.fill(); }
    else { c.arc(x, f.y(P.comet[i]), 2.4, 0, 7); c.stroke(); }
  }
}

function star(x, y, r) {
  const at = [...Array(10).keys()].map((n) => {
    const a = Math.PI * (n / 5 - 0.5), s = n % 2 ? r * 0.42 : r;
    return (x + s * Math.cos(a)).toFixed(1) + "," + (y + s * Math.sin(a)).toFixed(1);
  });
  return draw("polygon", { points: at.join(" "), fill: "var(--original)" });
}
const cross = (x, y, step) => draw("path", { d: step ? `M${x - 2.5} ${y - 2.5}l5 5m0-5l-5 5` : `M${x - 4} ${y - 4}l8 8m0-8l-8 8`,
  stroke: "var(--recipe)", "stroke-width": step ? 1.1 : 1.8, "stroke-opacity": step ? 0.6 : 1, fill: "none", class: step ? "step" : "recipe" });
// Of a recipe with several candidates, such as iterative pruning, what was tried and not kept.
const STEPS = new Set(D.series.flatMap((s) => (s.path.length ? s.points.filter((i) => !s.path.includes(i)) : [])));

// The label of each recipe once, beside one of its marks: inside the axes, over no other label, and over no mark if
// that is possible. One without a place is left out; the table has it. Recipes of many candidates have many places.
function labels(f, over) {
  const inside = (b) => b[0] >= f.left && b[0] + b[2] <= f.width - f.right && b[1] >= f.above && b[1] + b[3] <= f.height - f.below;
  const apart = (b, others) => others.every((o) => b[0] >= o[0] + o[2] || o[0] >= b[0] + b[2] || b[1] >= o[1] + o[3] || o[1] >= b[1] + b[3]);
  const at = (i) => [f.x(P.bytes[i]), f.y(P.comet[i])];
  const named = [...D.series].sort((a, b) => a.points.length - b.points.length);
  for (let i = 0; i < COUNT; i++) if (kindOf(i) === "original" && P.comet[i] !== null) named.unshift({ label: P.recipe[i], points: [i] });
  const shown = new Set([...named.flatMap((s) => s.points), ...D.front]);
  const marks = [...shown].map(at).map(([x, y]) => [x - 4, y - 4, 8, 8]), taken = [];
  for (const { label, points } of named) {
    const wide = textWidth(label), places = [];
    for (const [x, y] of points.map(at)) if (inside([x, y, 0, 0]))
      for (const dy of [-7, 15, -19, 27, -31, 39]) for (const right of [true, false])
        places.push({ x: right ? x + 7 : x - 7, y: y + dy, right, box: [right ? x + 7 : x - 7 - wide, y + dy - 10, wide, 13] });
    const free = places.filter(({ box }) => inside(box) && apart(box, taken));
    const best = free.find(({ box }) => apart(box, marks)) || free[0];
    if (!best) continue;
    taken.push(best.box);
    over.append(draw("text", { x: best.x, y: best.y, "text-anchor": best.right ? "start" : "end", class: "name" }, label));
  }
}

function redraw() {
  const f = frame(), over = clear(byId("over"));
  chart.frame = f;
  put(over, { width: f.width, height: f.height, viewBox: `0 0 ${f.width} ${f.height}` }, []);
  paint(f);
  const floor = f.height - f.below, end = f.width - f.right;
  const part = draw("g", { "clip-path": "url(#inside)" });
  over.append(draw("clipPath", { id: "inside" },
    draw("rect", { x: f.left, y: f.above - 1, width: end - f.left, height: floor - f.above + 2 })));
  for (const at of ticks(f.e.bottom, f.e.top, 7)) {
    over.append(draw("line", { x1: f.left, x2: end, y1: f.y(at), y2: f.y(at), stroke: "var(--line)" }),
      draw("text", { x: f.left - 8, y: f.y(at) + 4, "text-anchor": "end" }, String(at)));
  }
  let free = f.left - 20; // where the next label of the axis may begin
  for (const at of logTicks(f.e)) {
    const half = textWidth(size(at)) / 2, x = f.x(at);
    over.append(draw("line", { x1: x, x2: x, y1: floor, y2: floor + 5, stroke: "var(--faint)" }));
    if (x - half < free || x + half > f.width - 2) continue;
    over.append(draw("text", { x, y: floor + 18, "text-anchor": "middle", class: "tick" }, size(at)));
    free = x + half + 8;
  }
  for (const bin of D.bins) {
    const a = Math.max(f.x(Math.max(bin.low, 1)), f.left), b = Math.min(f.x(bin.high), end);
    if (b - a > 24 && (a + b) / 2 - textWidth(bin.name) / 2 > 12 + textWidth("COMET")) over.append(draw("text", { x: (a + b) / 2, y: f.above - 9, "text-anchor": "middle",
      "font-weight": bin.target ? 700 : 400 }, bin.name));
  }
  over.append(draw("text", { x: end, y: f.height - 6, "text-anchor": "end" }, f.width < 480 ? "bytes (log)" : "bytes of the artifact, every file counted (log)"),
    draw("text", { x: 10, y: f.above - 9 }, "COMET"), part);
  const best = D.front.filter((i) => P.comet[i] !== null);
  if (best.length) {
    let path = `M${f.x(P.bytes[best[0]])} ${f.y(P.comet[best[0]])}`;
    best.slice(1).forEach((i) => { path += `H${f.x(P.bytes[i])}V${f.y(P.comet[i])}`; });
    const last = Math.max(end, f.x(P.bytes[best[best.length - 1]]));
    part.append(draw("path", { d: `${path}H${last}V${floor}H${f.x(P.bytes[best[0]])}Z`, fill: "var(--area)" }),
      draw("path", { d: path, fill: "none", stroke: "var(--front)", "stroke-width": 1.6 }));
  }
  for (const i of best) {
    const x = f.x(P.bytes[i]);
    if (P.low[i] !== null) part.append(draw("path", { d: `M${x} ${f.y(P.low[i])}V${f.y(P.high[i])}`,
      stroke: "var(--front)", "stroke-opacity": 0.45, "stroke-width": 1.2, class: "interval" }));
  }
  for (const { path: kept } of D.series) if (kept.length > 1) part.append(draw("path", { fill: "none", stroke: "var(--recipe)",
    "stroke-opacity": 0.7, class: "kept", d: "M" + kept.map((i) => `${f.x(P.bytes[i])} ${f.y(P.comet[i])}`).join("L") }));
  for (let i = 0; i < COUNT; i++) {
    const kind = kindOf(i), x = f.x(P.bytes[i]), y = P.comet[i] === null ? 0 : f.y(P.comet[i]);
    if (kind === "original" && P.comet[i] !== null) part.append(star(x, y, 9));
    else if (kind === "recipe" && !onFront.has(i) && P.comet[i] !== null) part.append(cross(x, y, STEPS.has(i)));
    else if (onFront.has(i)) part.append(draw("circle", { cx: x, cy: y, r: 4.6, stroke: "var(--paper)", "stroke-width": 1.2,
      fill: kind === "recipe" ? "var(--recipe)" : "var(--front)", "data-point": i }));
  }
  labels(f, over);
  part.append(draw("circle", { id: "ring", r: 8, fill: "none", stroke: "var(--pick)", "stroke-width": 2.4, visibility: "hidden" }),
    draw("circle", { id: "halo", r: 7, fill: "none", stroke: "var(--ink)", "stroke-width": 1.2, visibility: "hidden" }));
  mark("ring", chart.picked); mark("halo", chart.hover);
}

const where = (i) => [chart.frame.x(P.bytes[i]),
  P.comet[i] === null ? chart.frame.height - chart.frame.below - 4 : chart.frame.y(P.comet[i])];
function mark(id, i) {
  const node = byId(id);
  if (!node) return;
  if (i < 0) { node.setAttribute("visibility", "hidden"); return; }
  const [x, y] = where(i);
  put(node, { cx: x, cy: y, visibility: "visible" }, []);
}
// The nearest point within 22 pixels, or 26 for points of the front and recipes.
function nearest(x, y) {
  let closest = -1, least = 22;
  for (let i = 0; i < COUNT; i++) {
    const [a, b] = where(i), far = Math.hypot(a - x, b - y) - (onFront.has(i) || kindOf(i) === "recipe" ? 4 : 0);
    if (far < least) { least = far; closest = i; }
  }
  return closest;
}
