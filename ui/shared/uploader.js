// Uploads files in pieces through /api/uploads and tells Python their ids.
// What was begun is remembered in localStorage: the same file, chosen again after a reload, goes on where it stopped.

const PIECE = 8 * 1024 * 1024;
const PAUSES = [1, 2, 4, 8, 15, 30];           // seconds between tries after a lost connection
const MEMORY = "recpress.upload.";
const instances = new WeakMap();

export default function (component) {
  const { parentElement, data, setStateValue } = component;
  let one = instances.get(parentElement);
  if (!one) {
    one = build(parentElement);
    instances.set(parentElement, one);
  }
  one.data = data;
  one.report = (files) => setStateValue("files", files);
  one.input.accept = data.accept;
  one.input.multiple = data.multiple;
  one.choose.textContent = data.multiple ? "Choose files" : "Choose a file";
  one.input.setAttribute("aria-label", data.label);
  one.hint.textContent = data.hint;
  if (data.clear !== one.clear) {              // Python has taken the files: begin afresh
    if (one.clear !== undefined) { one.items.forEach((item) => { item.stopped = true; }); one.items = []; one.list.replaceChildren(); }
    one.clear = data.clear;
  }
  showUnfinished(one);
  return () => {};
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

function build(parent) {
  const root = element("div", "drop");
  const row = element("div", "row");
  const choose = element("button", "", "Choose files");
  choose.type = "button";
  const input = element("input");
  input.type = "file";
  input.tabIndex = -1;
  const hint = element("span", "muted");
  const list = element("ul");
  const left = element("div", "muted");
  const spoken = element("div", "quiet");
  spoken.setAttribute("role", "status");
  row.append(choose, input, hint);
  root.append(row, left, list, spoken);
  parent.append(root);
  const one = { root, choose, input, hint, list, left, spoken, items: [], data: {}, report: () => {} };
  choose.onclick = () => input.click();
  input.onchange = () => { take(one, input.files); input.value = ""; };
  root.ondragover = (event) => { event.preventDefault(); root.classList.add("over"); };
  root.ondragleave = () => root.classList.remove("over");
  root.ondrop = (event) => { event.preventDefault(); root.classList.remove("over"); take(one, event.dataTransfer.files); };
  return one;
}

function take(one, files) {
  const chosen = one.data.multiple ? [...files] : [...files].slice(0, 1);
  if (!one.data.multiple && chosen.length) one.items.slice().forEach((item) => drop(one, item, false));
  for (const file of chosen) {
    one.items.filter((item) => item.file.name === file.name).forEach((item) => drop(one, item, false));
    const item = { file, offset: 0, stopped: false, done: null, started: 0, since: 0 };
    draw(one, item);
    one.items.push(item);
    send(one, item);
  }
  one.left.textContent = "";
}

function draw(one, item) {
  const line = element("li");
  const row = element("div", "row");
  item.state = element("span", "muted state", "Starting");
  item.pause = element("button", "small", "Pause");
  const remove = element("button", "small", "Remove");
  for (const button of [item.pause, remove]) button.type = "button";
  item.pause.setAttribute("aria-label", `Pause ${item.file.name}`);
  remove.setAttribute("aria-label", `Remove ${item.file.name}`);
  item.bar = element("progress");
  item.bar.max = Math.max(1, item.file.size);
  item.bar.value = 0;
  item.bar.setAttribute("aria-label", `Upload of ${item.file.name}`);
  item.problem = element("div", "problem");
  item.problem.setAttribute("role", "alert");
  row.append(element("span", "name", item.file.name), item.state, item.pause, remove);
  line.append(row, item.bar, item.problem);
  one.list.append(line);
  item.line = line;
  item.pause.onclick = () => {
    item.stopped = !item.stopped;
    if (item.stopped) item.abort?.abort();
    say(item, item.stopped ? "Paused" : "Resuming");
    item.pause.textContent = item.stopped ? "Resume" : "Pause";
    item.pause.setAttribute("aria-label", `${item.pause.textContent} ${item.file.name}`);
    if (!item.stopped) send(one, item);
  };
  remove.onclick = () => drop(one, item, true);
}

function drop(one, item, everywhere) {
  item.stopped = true;
  item.abort?.abort();
  item.line.remove();
  one.items = one.items.filter((other) => other !== item);
  if (everywhere) {
    localStorage.removeItem(memory(one, item.file));
    if (item.id && !item.done) ask(one, item.id, { method: "DELETE" }, item).catch(() => {});
  }
  report(one);
  if (everywhere) one.choose.focus();
}

const memory = (one, file) => `${MEMORY}${one.data.kind}:${file.name}:${file.size}:${file.lastModified}`;
const wait = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

function ask(one, path, options, { key, signal } = {}) {
  const headers = { "X-RecPress-Token": one.data.token, ...(key ? { "X-RecPress-Upload-Key": key } : {}), ...(options.headers || {}) };
  return fetch(`${one.data.url}${path ? "/" + path : ""}`, { ...options, headers, signal, credentials: "same-origin" });
}

class Refused extends Error {}

async function checked(response) {
  if (response.ok) return response;
  let sentence = `The server answered ${response.status}.`;
  try { sentence = (await response.json()).error || sentence; } catch { /* no JSON: the status has to do */ }
  if (response.status === 408 || (response.status >= 500 && response.status !== 507)) throw new Error(sentence);
  throw new Refused(sentence);
}

async function begin(one, item) {
  const remembered = JSON.parse(localStorage.getItem(memory(one, item.file)) || "null");
  if (remembered) {
    const response = await ask(one, remembered.id, { method: "HEAD" }, remembered);
    if (response.ok) {
      item.id = remembered.id;
      item.key = remembered.key;
      item.offset = Number(response.headers.get("Upload-Offset"));
      return;
    }
    if (response.status !== 404) throw response.status === 401 ? new Refused("This page has been open for too long. " +
      "Reload it, then choose the file again: it goes on where it stopped.") : new Error("not reached");
  }
  const body = JSON.stringify({ name: item.file.name, size: item.file.size, kind: one.data.kind });
  const made = await (await checked(await ask(one, "", { method: "POST", body }))).json();
  item.id = made.id;
  item.key = made.key;
  item.offset = 0;
  localStorage.setItem(memory(one, item.file), JSON.stringify({ id: made.id, key: made.key, name: item.file.name, kind: one.data.kind }));
}

async function send(one, item) {
  if (item.sending) return;
  item.sending = true;
  let failures = 0;
  item.problem.textContent = "";
  while (!item.stopped && !item.done) {
    try {
      if (!item.id || failures) { item.id = null; await begin(one, item); restart(item); }
      while (!item.stopped && item.offset < item.file.size) {
        progress(item);
        item.abort = new AbortController();
        const response = await ask(one, item.id, { method: "PATCH", headers: { "Upload-Offset": String(item.offset) },
          body: item.file.slice(item.offset, item.offset + PIECE) }, { key: item.key, signal: item.abort.signal });
        if (response.status === 409 || response.status === 404) throw new Error("offset");
        await checked(response);
        item.offset = Number(response.headers.get("Upload-Offset"));
        failures = 0;
      }
      if (item.stopped) break;
      progress(item);
      say(item, "Storing");
      item.done = await (await checked(await ask(one, `${item.id}/finish`, { method: "POST" }, item))).json();
      say(item, `${human(item.file.size)}, ready`);
      item.pause.remove();
      one.spoken.textContent = `${item.file.name} is uploaded.`;
      localStorage.removeItem(memory(one, item.file));
      report(one);
    } catch (error) {
      if (item.stopped) break;
      if (error instanceof Refused) {
        item.problem.textContent = error.message;
        say(item, "Stopped");
        item.pause.remove();
        break;
      }
      const pause = PAUSES[Math.min(failures, PAUSES.length - 1)];
      failures += 1;
      if (failures > 1) item.problem.textContent = "The connection was lost. Trying again.";
      await wait(failures === 1 ? 0.3 : pause);
      continue;
    }
    item.problem.textContent = "";
  }
  item.sending = false;
}

function restart(item) { item.started = performance.now(); item.since = item.offset; }

function progress(item) {
  item.bar.value = item.offset;
  const seconds = (performance.now() - item.started) / 1000;
  const rate = seconds > 0.5 ? (item.offset - item.since) / seconds : 0;
  const left = rate > 0 ? `, ${duration((item.file.size - item.offset) / rate)} left` : "";
  const share = Math.floor((100 * item.offset) / item.file.size);
  say(item, `${share} % of ${human(item.file.size)}${rate > 0 ? `, ${human(rate)}/s` : ""}${left}`);
}

function say(item, text) { item.state.textContent = text; }

function report(one) {
  one.report(one.items.filter((item) => item.done).map((item) => ({ id: item.done.id, name: item.done.name })));
}

async function showUnfinished(one) {
  if (one.looked || !one.data.kind) return;
  one.looked = true;
  const names = [];
  for (const key of Object.keys(localStorage).filter((key) => key.startsWith(`${MEMORY}${one.data.kind}:`))) {
    try {
      const kept = JSON.parse(localStorage.getItem(key));
      const response = await ask(one, kept.id, { method: "HEAD" }, kept);
      if (response.status === 404) { localStorage.removeItem(key); continue; }
      if (!response.ok) continue;
      const share = Math.floor((100 * Number(response.headers.get("Upload-Offset"))) / Number(response.headers.get("Upload-Length")));
      names.push(`${kept.name} (${share} %)`);
    } catch { /* offline or no storage: nothing to offer */ }
  }
  if (names.length && !one.items.length) one.left.textContent = `Unfinished: ${names.join(", ")}. Choose the same file to go on where it stopped.`;
}

function human(bytes) {
  for (const [unit, scale] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) {
    if (bytes >= scale) { const value = bytes / scale; return `${value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : value.toFixed(0)} ${unit}`; }
  }
  return `${Math.round(bytes)} B`;
}

function duration(seconds) {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}
