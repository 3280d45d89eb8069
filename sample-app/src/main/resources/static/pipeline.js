// The live view of the engine: polls the endpoint of Actuator and draws what it says.

const POLL_MILLIS = 1000;
const ENDPOINT = "actuator/prefetch";
const LANES = ["disk", "link", "compute", "waiting"];
const SVG = "http://www.w3.org/2000/svg";

const byId = (id) => document.getElementById(id);
let dragging = false;
let previous = null;

async function json(path) {
  const response = await fetch(path, { headers: { Accept: "application/json" } });
  return response.ok ? response.json() : null;
}

function mebibytes(bytes) {
  const mib = bytes / (1 << 20);
  return mib >= 1024 ? `${(mib / 1024).toFixed(1)} GiB` : `${mib.toFixed(1)} MiB`;
}

function percent(share) {
  return `${Math.round(share * 100)} %`;
}

function showFigures(engine, perSecond) {
  const statistics = engine.statistics;
  const stall = statistics.sweepMillis > 0 ? statistics.stallMillis / statistics.sweepMillis : 0;
  const figures = [
    ["Running, waiting", `${engine.load.running}, ${engine.load.waiting}`],
    ["Passes per second", perSecond.toFixed(1)],
    ["Read from disk", mebibytes(statistics.diskBytes)],
    ...(statistics.linkBytes > 0 ? [["Copied to the device", mebibytes(statistics.linkBytes)]] : []),
    [statistics.linkBytes > 0 ? "Link speed" : "Disk speed", `${mebibytes(statistics.linkBytesPerSecond)}/s`],
    ["Time stalled", percent(stall)],
    ["Transfers hidden", percent(statistics.overlapEfficiency)],
    ["Roofline", percent(statistics.rooflineFraction)],
  ];
  byId("figures").replaceChildren(...figures.map(([name, value]) => {
    const entry = document.createElement("div");
    const term = document.createElement("dt");
    const figure = document.createElement("dd");
    term.textContent = name;
    figure.textContent = value;
    entry.append(term, figure);
    return entry;
  }));
}

function meter(name, used, total) {
  const box = document.createElement("div");
  box.className = "meter";
  const line = document.createElement("p");
  const label = document.createElement("span");
  const value = document.createElement("span");
  label.textContent = name;
  value.textContent = `${mebibytes(used)} of ${mebibytes(total)}`;
  line.append(label, value);
  const track = document.createElement("div");
  track.className = "track";
  const fill = document.createElement("div");
  fill.className = "fill";
  fill.style.width = `${total > 0 ? Math.min(100, (100 * used) / total) : 0}%`;
  track.append(fill);
  box.append(line, track);
  return box;
}

function showMemory(memory, plan) {
  const resident = ["mapped", "resident"].reduce((sum, kind) => sum + (plan[kind]?.bytes ?? 0), 0);
  byId("memory").replaceChildren(
    meter("Weights that stay in memory", resident, memory.modelBytes),
    meter("Slots for weights on their way", plan.slots * plan.slotBytes, memory.weightsBudgetBytes),
    meter("KV cache of running conversations", memory.kvCacheBytesInUse, memory.kvCacheBytesCapacity),
  );
}

function showLookAhead(load, plan) {
  const slider = byId("look-ahead");
  const most = Math.max(0, plan.slots - 1);
  slider.max = most;
  slider.disabled = most === 0;
  const auto = byId("look-ahead-auto");
  auto.disabled = most === 0;
  auto.setAttribute("aria-pressed", String(load.lookAheadChosen === "auto"));
  if (!dragging) {
    slider.value = load.lookAheadBlocks;
    byId("look-ahead-value").textContent = load.lookAheadBlocks;
  }
  if (most === 0 && byId("look-ahead-note").textContent === "") {
    byId("look-ahead-note").textContent = "Everything fits into memory. To see weights stream, start with"
      + " ./prefetch serve --weights 60% --look-ahead 1";
  }
}

async function changeLookAhead(wanted) {
  const response = await fetch(ENDPOINT, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ lookAheadBlocks: wanted }),
  });
  byId("look-ahead-note").textContent = !response.ok ? "The engine refused it."
    : wanted === "auto" ? "The engine measures and chooses again." : `Changed to ${wanted}.`;
  dragging = false;
}

function element(name, attributes, parent) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) {
    node.setAttribute(key, value);
  }
  parent.append(node);
  return node;
}

function showTimeline(trace) {
  const spans = trace.traceEvents.filter((event) => event.ph === "X");
  // Only where there is a device with memory of its own does anything cross its link.
  const lanes = LANES.filter((lane) => lane !== "link" || spans.some((span) => span.cat === lane));
  const marks = trace.traceEvents.filter((event) => event.ph === "i");
  if (spans.length === 0) {
    return;
  }
  const from = Math.min(...spans.map((span) => span.ts));
  const to = Math.max(...spans.map((span) => span.ts + span.dur));
  const width = 1000;
  const left = 70;
  const height = 34;
  const gap = 10;
  const total = lanes.length * (height + gap) + 20;
  const x = (micros) => left + ((micros - from) / Math.max(1, to - from)) * (width - left);
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${total}`);
  lanes.forEach((lane, row) => {
    const y = row * (height + gap);
    element("text", { x: 0, y: y + height / 2 + 4 }, svg).textContent = lane;
    element("rect", { class: "lane", x: left, y, width: width - left, height, rx: 4 }, svg);
    for (const span of spans.filter((candidate) => candidate.cat === lane)) {
      const bar = element("rect", {
        class: lane,
        x: x(span.ts).toFixed(2),
        y: y + 3,
        width: Math.max(0.6, x(span.ts + span.dur) - x(span.ts)).toFixed(2),
        height: height - 6,
      }, svg);
      const bytes = span.args?.bytes ? `, ${mebibytes(span.args.bytes)}` : "";
      element("title", {}, bar).textContent = `${span.name}: ${(span.dur / 1000).toFixed(2)} ms${bytes}`;
    }
  });
  for (const mark of marks) {
    const at = x(mark.ts).toFixed(2);
    element("line", { class: "sweep", x1: at, x2: at, y1: 0, y2: total - 20 }, svg);
  }
  const end = element("text", { x: width, y: total - 4, "text-anchor": "end" }, svg);
  end.textContent = `${((to - from) / 1000).toFixed(1)} ms`;
  byId("timeline").replaceChildren(svg);
  byId("timeline-note").textContent = `${marks.length} passes, ${spans.length} steps; point at one for its block.`;
}

function showSlowPaths(paths) {
  byId("slow-paths").replaceChildren(...paths.map((path) => {
    const item = document.createElement("li");
    item.textContent = `${path.what} Remedy: ${path.remedy}`;
    return item;
  }));
}

async function poll() {
  const engine = await json(ENDPOINT);
  if (engine === null) {
    byId("plan").textContent = "The endpoint 'prefetch' is not exposed.";
    return;
  }
  const now = performance.now();
  const sweeps = engine.statistics.sweeps;
  const perSecond = previous === null ? 0 : ((sweeps - previous.sweeps) * 1000) / (now - previous.at);
  previous = { sweeps, at: now };
  byId("model-name").textContent = engine.model.name;
  byId("plan").textContent = engine.plan.summary;
  showFigures(engine, perSecond);
  showMemory(engine.memory, engine.plan);
  showLookAhead(engine.load, engine.plan);
  showSlowPaths(engine.slowPaths);
  const trace = await json(`${ENDPOINT}/trace`);
  if (trace !== null) {
    showTimeline(trace);
  }
}

async function run() {
  try {
    await poll();
  } catch {
    byId("plan").textContent = "The application does not answer.";
  }
  setTimeout(run, POLL_MILLIS);
}

byId("look-ahead").addEventListener("input", () => {
  dragging = true;
  byId("look-ahead-value").textContent = byId("look-ahead").value;
});
byId("look-ahead").addEventListener("change", () => changeLookAhead(Number(byId("look-ahead").value)));
byId("look-ahead-auto").addEventListener("click", () => changeLookAhead("auto"));
run();
