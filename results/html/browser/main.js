// Ties the parts together: hover, click, the chosen candidate, progress, translations.
function tipFor(i, x, y) {
  const tip = clear(byId("tip"));
  if (i < 0) { tip.style.visibility = "hidden"; return; }
  const policy = policyOf(i), lines = [];
  const comet = P.comet[i] === null ? "not scored" : "COMET " + fixed(P.comet[i], 4) +
    (P.low[i] === null ? "" : ` (${fixed(P.low[i], 4)} to ${fixed(P.high[i], 4)})`);
  lines.push(`${whole(P.bytes[i])} bytes, ${fixed(P.bits[i], 2)} bits a weight`, comet);
  if (P.status[i] !== "scored") lines.push(P.status[i] + (P.status[i] === "pruned" ? ` at rung ${P.rung[i]}` : "") + (P.why[i] ? ": " + P.why[i] : ""));
  tip.append(make("b", {}, P.name[i]), P.recipe[i] === "search" || P.recipe[i] === P.name[i] ? "" : "  " + P.recipe[i]);
  for (const line of lines) tip.append(make("div", {}, line));
  if (P.vocabulary[i] !== "full") tip.append(make("div", {}, "vocabulary " + shortVocabulary(P.vocabulary[i])));
  if (policy) {
    const gone = droppedOf(policy);
    tip.append(make("div", { class: "note" }, summary(policy)),
      gone.length ? make("div", { class: "note" }, "dropped: " + gone.join(", ")) : "", strip(policy));
  } else tip.append(make("div", { class: "note" }, P.policy[i]));
  tip.style.visibility = "visible";
  tip.style.left = tip.style.top = "0"; // at an edge it would be measured narrower than it is
  const box = tip.getBoundingClientRect();
  // Inside the window at all of its edges; below the pointer where there is room, else above it.
  const fit = (at, size, room) => Math.max(4, Math.min(at, room - size - 8));
  const below = y + 18 + box.height <= window.innerHeight - 8;
  tip.style.left = fit(x + 16, box.width, window.innerWidth) + "px";
  tip.style.top = fit(below ? y + 18 : y - box.height - 14, box.height, window.innerHeight) + "px";
}

function describe(i) {
  const rows = [["recipe", P.recipe[i]], ["bin", P.bin[i]], ["bytes", whole(P.bytes[i])],
    ["bits a weight", fixed(P.bits[i], 3)], ["parameters", whole(P.parameters[i])], ["vocabulary", P.vocabulary[i]],
    ["COMET", P.comet[i] === null ? "–" : `${fixed(P.comet[i], 4)}  (${fixed(P.low[i], 4)} to ${fixed(P.high[i], 4)})`],
    ["chrF / BLEU", `${fixed(P.chrf[i], 1)} / ${fixed(P.bleu[i], 1)}`]];
  if (P.kl[i] !== null) rows.push(["KL", P.kl[i].toPrecision(3)]);
  if (P.parent[i]) rows.push(["recovered from", P.parent[i]]);
  if (P.status[i] !== "scored") rows.push(["status", P.status[i] + (P.status[i] === "held-out" ? ": scored on the talks it was not trained on" : " at rung " + P.rung[i])]);
  const list = make("dl", {});
  for (const [name, text] of rows) list.append(make("dt", {}, name), make("dd", {}, text));
  const plain = /^policies\/[\w.-]+\.json$/.test(P.policy[i]);
  list.append(make("dt", {}, "policy"), make("dd", {}, plain ? make("a", { href: P.policy[i] }, P.policy[i]) : P.policy[i]));
  return list;
}

// What of a translation is not in the reference, by the longest common subsequence of words, or of characters in Chinese.
function differing(text, reference) {
  const cut = (s) => (D.byCharacter ? [...s] : s.split(/(\s+)/));
  const a = cut(text), b = cut(reference), n = a.length, m = b.length;
  if (!reference || n * m > 250000) return [[text, false]];
  const table = Array.from({ length: n + 1 }, () => new Uint16Array(m + 1));
  for (let i = n - 1; i >= 0; i--) for (let j = m - 1; j >= 0; j--)
    table[i][j] = a[i] === b[j] ? table[i + 1][j + 1] + 1 : Math.max(table[i + 1][j], table[i][j + 1]);
  const pieces = [];
  for (let i = 0, j = 0; i < n;) {
    const same = j < m && a[i] === b[j];
    if (!same && j < m && table[i][j + 1] >= table[i + 1][j]) { j++; continue; }
    const last = pieces[pieces.length - 1];
    if (last && last[1] === !same) last[0] += a[i]; else pieces.push([a[i], !same]);
    i++; if (same) j++;
  }
  return pieces;
}
function marked(text, reference) {
  const span = make("span", {});
  for (const [piece, differs] of differing(text, reference))
    span.append(differs && piece.trim() ? make("mark", {}, piece) : piece);
  return span;
}

function translations(i) {
  const root = clear(byId("texts")), rows = D.texts[i];
  if (!rows) {
    const many = Object.keys(D.texts).length;
    root.append(make("p", { class: "note" }, P.status[i] === "scored"
      ? `This file holds the translations of ${many} candidates, those of the front first. For this one: python -m results.report ${D.run} --candidate ${P.name[i]}`
      : "Only candidates scored on all segments have translations here."));
    return;
  }
  const head = make("tr", {}, ...["segment", "COMET", "original", P.name[i], "the original model", D.references.length ? "reference" : null]
    .filter((h) => h !== null).map((h, n) => make("th", n > 2 ? { class: "text" } : {}, h)));
  const body = make("tbody", {});
  for (const [segment, score, text] of rows) {
    const reference = D.references[segment] || "", before = D.originalTexts[segment];
    const source = D.sources[segment] ? make("span", { class: "source" }, D.sources[segment]) : null;
    body.append(make("tr", {}, make("td", {}, String(segment + 1)), make("td", {}, fixed(score, 3)),
      make("td", {}, fixed(D.originalScores[segment], 3)), make("td", { class: "text" }, source, marked(text, reference)),
      make("td", { class: "text" }, before === undefined ? "–" : marked(before, reference)),
      D.references.length ? make("td", { class: "text" }, reference) : null));
  }
  root.append(make("div", { class: "scroll" }, make("table", {}, make("thead", {}, head), body)));
}

function pick(i) {
  chart.picked = i;
  mark("ring", i);
  document.querySelectorAll("#front tbody tr").forEach((tr) => tr.classList.toggle("pick", Number(tr.dataset.point) === i));
  byId("chosen-name").textContent = P.name[i];
  byId("texts-name").textContent = P.name[i];
  const policy = policyOf(i), side = clear(byId("chosen"));
  const levels = policy ? policyPicture(policy) : make("p", { class: "note" }, "Its policy is not in this file: " + P.policy[i]);
  const marks = [1, 2, 4, 8, 16].map((bits) => [bitsShare(bits), String(bits)]);
  side.append(make("div", {}, describe(i), make("p", { class: "note" }, "to have it as an artifact:"),
    make("code", {}, `python -m results.export ${D.run} --candidate ${P.name[i]} --out ${P.name[i].replace(/[^\w.-]/g, "-")}.art`)),
    make("div", {}, make("div", { class: "scroll" }, levels), policy ? scaleBar(BITS, marks, D.bitsCaption) : null));
  translations(i);
}

function progress() {
  const root = clear(byId("progress")), all = D.progress;
  if (all.length < 2) { root.append(make("p", { class: "note" }, "No searched candidate was scored inside the bins yet.")); return; }
  const width = Math.min(root.clientWidth || 700, 760), height = 210, left = 52, below = 30, top = 10;
  const most = all[all.length - 1][0], high = Math.max(...all.map((p) => p[1]), 1e-9) * 1.08;
  const x = (n) => left + (width - left - 12) * n / most, y = (v) => height - below - (height - below - top) * v / high;
  const svg = draw("svg", { width, height });
  for (const at of ticks(0, high, 4))
    svg.append(draw("line", { x1: left, x2: width - 12, y1: y(at), y2: y(at), stroke: "var(--line)" }),
      draw("text", { x: left - 7, y: y(at) + 4, "text-anchor": "end" }, String(at)));
  for (const at of ticks(0, most, 7)) if (Number.isInteger(at))
    svg.append(draw("text", { x: x(at), y: height - below + 17, "text-anchor": "middle" }, whole(at)));
  let path = `M${x(all[0][0])} ${y(all[0][1])}`;
  all.slice(1).forEach(([n, v]) => { path += `H${x(n)}V${y(v)}`; });
  svg.append(draw("path", { d: `${path}V${y(0)}H${x(all[0][0])}Z`, fill: "var(--area)" }),
    draw("path", { d: path, fill: "none", stroke: "var(--front)", "stroke-width": 1.8 }),
    draw("text", { x: width - 12, y: height - 1, "text-anchor": "end" }, "candidates finished"));
  root.append(svg);
}

function start() {
  const over = byId("over");
  const at = (event) => { const box = over.getBoundingClientRect(); return nearest(event.clientX - box.left, event.clientY - box.top); };
  over.addEventListener("mousemove", (event) => {
    chart.hover = at(event);
    mark("halo", chart.hover);
    tipFor(chart.hover, event.clientX, event.clientY);
  });
  over.addEventListener("mouseleave", () => { chart.hover = -1; mark("halo", -1); tipFor(-1); });
  over.addEventListener("click", (event) => { const i = at(event); if (i >= 0) pick(i); });
  document.querySelectorAll("#front tbody tr").forEach((tr) => {
    tr.tabIndex = 0;
    tr.addEventListener("click", () => pick(Number(tr.dataset.point)));
    tr.addEventListener("keydown", (event) => { if (event.key === "Enter") pick(Number(tr.dataset.point)); });
  });
  const buttons = document.querySelectorAll("button[data-view]");
  const press = () => buttons.forEach((b) => b.setAttribute("aria-pressed", String(b.dataset.view === chart.view)));
  buttons.forEach((button) => button.addEventListener("click", () => { chart.view = button.dataset.view; press(); redraw(); }));
  press();
  let waiting = 0;
  window.addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(() => { redraw(); progress(); }, 120); });
  window.matchMedia("(prefers-color-scheme:dark)").addEventListener("change", redraw);
  redraw();
  progress();
  const heat = heatMap();
  byId("heat").append(heat || make("p", { class: "note" }, "This run holds no sensitivities."));
  if (D.chosen >= 0) pick(D.chosen);
  document.documentElement.dataset.ready = "yes";
}
start();
