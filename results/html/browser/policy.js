// A policy as a picture, a cell a unit; and the sensitivities as a heat map over the same layout.
// Layout: stacks of layers side by side (a column a layer, a row a kind of unit), then the units that are in no layer.
function layout() {
  const stacks = new Map(), single = [];
  D.units.forEach((unit, u) => {
    if (unit.stack === null) { single.push(u); return; }
    if (!stacks.has(unit.stack)) stacks.set(unit.stack, { name: unit.stack, layers: [], kinds: [], cells: new Map() });
    const stack = stacks.get(unit.stack);
    if (!stack.layers.includes(unit.index)) stack.layers.push(unit.index);
    if (!stack.kinds.includes(unit.kind)) stack.kinds.push(unit.kind);
    stack.cells.set(unit.kind + " " + unit.index, u);
  });
  for (const stack of stacks.values()) stack.layers.sort((a, b) => a - b);
  return { stacks: [...stacks.values()], single };
}
const PLAN = layout();
const CELL = (() => {
  const most = Math.max(1, ...PLAN.stacks.map((s) => s.layers.length));
  return most > 40 ? 18 : most > 20 ? 24 : 34;
})();

function cell(x, y, w, h, fill, text, title, dark) {
  const group = draw("g", {}, draw("rect", { x, y, width: w, height: h, rx: 3, fill, class: "cell" }));
  if (text !== null && w >= 23) {
    const label = draw("text", { x: x + w / 2, y: y + h / 2 + 4, "text-anchor": "middle" }, text);
    label.style.fill = dark ? "#fff" : "#1d2733";
    label.style.fontSize = "11px";
    group.append(label);
  }
  group.append(draw("title", {}, title));
  return group;
}
function crossed(x, y, w, h, title) {
  return draw("g", { class: "dropped" },
    draw("rect", { x: x + 1, y: y + 1, width: w - 2, height: h - 2, rx: 3, class: "gone", "stroke-dasharray": "2 2", "fill-opacity": 0 }),
    draw("path", { d: `M${x + 5} ${y + 5}L${x + w - 5} ${y + h - 5}M${x + w - 5} ${y + 5}L${x + 5} ${y + h - 5}`, class: "gone", "stroke-width": 1.6 }),
    draw("rect", { x, y, width: w, height: h, fill: "transparent" }), draw("title", {}, title));
}

function policyPicture(policy) {
  const tall = 26, root = draw("svg", { role: "img", "aria-label": "the policy, a cell a unit" });
  const margin = Math.max(74, ...PLAN.stacks.flatMap((stack) => stack.kinds.map((kind) => Math.ceil(textWidth(kind)) + 10))); // of cells
  let top = 4, wide = 0;
  const one = (u, x, y, w) => {
    const unit = D.units[u], level = policy[u];
    if (level < 0) return crossed(x, y, w, tall, unit.name + ": dropped");
    const name = D.levels[level], bits = bitsOf(unit.name, name);
    const suffix = bits === null ? "" : ", " + bits.toFixed(2) + " bits a weight";
    const short = bits === null ? null : bits >= 9.95 ? bits.toFixed(0) : bits.toFixed(1);
    return cell(x, y, w, tall, bitsColour(bits), short, `${unit.name}: ${name}${suffix}`, bits === null || bitsShare(bits) > 0.55);
  };
  for (const stack of PLAN.stacks) {
    root.append(draw("text", { x: 0, y: top + 12, "font-weight": 600 }, `${stack.name}, ${stack.layers.length} layers`));
    top += 18;
    stack.layers.forEach((index, n) => {
      if (CELL >= 24 || n % 2 === 0)
        root.append(draw("text", { x: margin + n * CELL + CELL / 2, y: top + 10, "text-anchor": "middle" }, String(index)));
    });
    top += 15;
    for (const kind of stack.kinds) {
      root.append(draw("text", { x: margin - 6, y: top + 17, "text-anchor": "end" }, kind));
      stack.layers.forEach((index, n) => {
        const u = stack.cells.get(kind + " " + index);
        if (u !== undefined) root.append(one(u, margin + n * CELL, top, CELL));
      });
      top += tall;
    }
    wide = Math.max(wide, margin + stack.layers.length * CELL);
    top += 12;
  }
  let left = 0;
  for (const u of PLAN.single) {
    const name = D.units[u].name, w = Math.max(62, Math.ceil(textWidth(name)) + 16);
    if (left + w > Math.max(wide, 480)) { left = 0; top += tall + 24; }
    root.append(draw("text", { x: left, y: top + 12 }, name), one(u, left, top + 17, w - 8));
    left += w; wide = Math.max(wide, left);
  }
  if (PLAN.single.length) top += tall + 24;
  return put(root, { width: wide + 2, height: top, viewBox: `0 0 ${wide + 2} ${top}` }, []);
}

function strip(policy) {
  const w = Math.max(2, Math.min(8, Math.floor(340 / Math.max(policy.length, 1))));
  const wide = w * policy.length; // squeezed where the tooltip is narrower
  const root = draw("svg", { width: wide, height: 14, viewBox: `0 0 ${wide} 14`, preserveAspectRatio: "none", class: "strip" });
  policy.forEach((level, u) => root.append(level < 0
    ? draw("path", { d: `M${u * w} 2L${u * w + w - 1} 12M${u * w + w - 1} 2L${u * w} 12`, class: "gone" })
    : draw("rect", { x: u * w, y: 0, width: w - (w > 3 ? 1 : 0), height: 14, fill: bitsColour(bitsOf(D.units[u].name, D.levels[level])) })));
  return root;
}

function scaleBar(stops, marks, caption) {
  const wide = 220, root = draw("svg", { width: wide + 40, height: 42 }), n = 44;
  for (let i = 0; i < n; i++)
    root.append(draw("rect", { x: 10 + i * wide / n, y: 16, width: wide / n + 0.5, height: 9, fill: ramp(stops, i / (n - 1)) }));
  for (const [share, text] of marks)
    root.append(draw("text", { x: 10 + share * wide, y: 38, "text-anchor": share ? "middle" : "start" }, text));
  root.append(draw("text", { x: 10, y: 11 }, caption));
  return root;
}

// Rows: a kind of unit at a measured level, or the drop of a layer. Columns: layers.
function heatMap() {
  const known = D.sensitivities.filter((s) => s[3] !== null && s[3] > 0);
  if (!known.length) return null;
  const logs = known.map((s) => Math.log10(s[3]));
  const low = Math.max(Math.min(...logs), Math.max(...logs) - 6), high = Math.max(...logs, low + 0.5);
  const share = (kl) => (Math.log10(Math.max(kl, 1e-12)) - low) / (high - low);
  const value = new Map(D.sensitivities.map((s) => [s[0] + " " + s[1] + " " + s[2], s[3]]));
  const root = draw("svg", { role: "img", "aria-label": "sensitivities" }), tall = 22;
  const rowNames = D.sensitivityLevels.flatMap((level) => PLAN.stacks.flatMap((stack) => stack.kinds.map((kind) => `${kind} ${level}`)));
  const named = [...rowNames, ...PLAN.single.map((u) => D.units[u].name), "vocabulary", "dropped"];
  const left = Math.ceil(Math.max(...named.map((name) => textWidth(name)))) + 10; // where cells begin
  let top = 4, wide = 0;
  const box = (x, y, w, kl, title) => {
    const broken = kl === null, s = broken ? 1 : share(kl);
    root.append(cell(x, y, w, tall, ramp(HEAT, s), null, `${title}: ${broken ? "outputs are no numbers" : "KL " + kl.toPrecision(3)}`, false));
  };
  const levelsOf = (units) => D.sensitivityLevels.filter((level) => units.some((u) => value.has(`level ${D.units[u].name} ${level}`)));
  for (const stack of PLAN.stacks) {
    const rows = [];
    for (const kind of stack.kinds) {
      const units = stack.layers.map((index) => stack.cells.get(kind + " " + index)).filter((u) => u !== undefined);
      for (const level of levelsOf(units)) rows.push([`${kind} ${level}`, (index) => {
        const u = stack.cells.get(kind + " " + index);
        return u === undefined ? undefined : [`level ${D.units[u].name} ${level}`, `${D.units[u].name} at ${level}`];
      }]);
    }
    if (stack.layers.some((index) => value.has(`drop ${stack.name}.${index} `)))
      rows.push(["dropped", (index) => [`drop ${stack.name}.${index} `, `${stack.name}.${index} dropped`]]);
    if (!rows.length) continue;
    root.append(draw("text", { x: 0, y: top + 12, "font-weight": 600 }, stack.name));
    stack.layers.forEach((index, n) => {
      if (CELL >= 24 || n % 2 === 0)
        root.append(draw("text", { x: left + n * CELL + CELL / 2, y: top + 12, "text-anchor": "middle" }, String(index)));
    });
    top += 18;
    for (const [name, find] of rows) {
      root.append(draw("text", { x: left - 6, y: top + 15, "text-anchor": "end" }, name));
      stack.layers.forEach((index, n) => {
        const entry = find(index);
        if (entry && value.has(entry[0])) box(left + n * CELL, top, CELL, value.get(entry[0]), entry[1]);
      });
      top += tall;
    }
    wide = Math.max(wide, left + stack.layers.length * CELL);
    top += 12;
  }
  const step = 42 + Math.ceil(Math.max(0, ...D.sensitivityLevels.map((level) => textWidth(level)))); // a cell and its level
  for (const u of PLAN.single) {
    const name = D.units[u].name, levels = levelsOf([u]);
    if (!levels.length) continue;
    root.append(draw("text", { x: left - 6, y: top + 15, "text-anchor": "end" }, name));
    levels.forEach((level, n) => {
      box(left + n * step, top, 26, value.get(`level ${name} ${level}`), `${name} at ${level}`);
      root.append(draw("text", { x: left + 30 + n * step, y: top + 15 }, level));
    });
    wide = Math.max(wide, left + levels.length * step);
    top += tall;
  }
  const trims = D.sensitivities.filter((s) => s[0] === "trim");
  if (trims.length) {
    root.append(draw("text", { x: left - 6, y: top + 15, "text-anchor": "end" }, "vocabulary"));
    let at = left;
    for (const [, name, , kl] of trims) {
      const short = shortVocabulary(name);
      box(at, top, 26, kl, `vocabulary ${name}`);
      root.append(draw("text", { x: at + 30, y: top + 15 }, short));
      at += 42 + Math.ceil(textWidth(short));
    }
    wide = Math.max(wide, at);
    top += tall;
  }
  put(root, { width: wide + 4, height: top + 4, viewBox: `0 0 ${wide + 4} ${top + 4}` }, []);
  const marks = [0, 0.5, 1].map((s) => [s, String(Number((10 ** (low + s * (high - low))).toPrecision(1)))]);
  return make("div", {}, make("div", { class: "scroll" }, root), scaleBar(HEAT, marks, "KL to the original, nats a token (log)"));
}
