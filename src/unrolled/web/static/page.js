// The page with JavaScript: the same form, with a streamed answer. Text from the server is only assigned to textContent.
"use strict";

(() => {
  const find = (id) => document.getElementById(id);
  const form = find("write");
  const prompt = find("prompt");
  const story = find("story");
  const inputs = [...document.querySelectorAll(".field input, .field textarea, .field select")];
  const styleButtons = [...document.querySelectorAll(".styles button")];
  const longest = Number(form.dataset.longest);
  let running = null; // the AbortController of the running request
  let following = false; // whether the window scrolls along; ends when the reader scrolls away

  const show = (element, text) => {
    element.textContent = text;
    element.hidden = text === "";
  };

  // Request and stream

  async function write() {
    if (running) return;
    running = new AbortController();
    const asked = prompt.value;
    const began = performance.now();
    let pen = null;
    begin();
    try {
      const response = await fetch(form.dataset.stream, {
        method: "POST",
        body: new URLSearchParams(new FormData(form)),
        signal: running.signal,
      });
      if (!response.ok) return refused(await complaintOf(response));
      pen = blank(asked, response.headers.get("X-Unrolled-Seed"));
      await receive(response.body, pen);
    } catch (error) {
      if (error.name === "AbortError") stopped(pen, performance.now() - began);
      else show(find("message"), "The server does not answer. Is it still running?");
    } finally {
      pen?.flush();
      end();
    }
  }

  async function complaintOf(response) {
    try {
      return await response.json();
    } catch {
      return { error: `The server refused this (status ${response.status}).` };
    }
  }

  async function receive(body, pen) {
    const reader = body.getReader();
    const decoder = new TextDecoder();
    let rest = "";
    let ended = false;
    for (;;) {
      const { done, value } = await reader.read();
      const lines = (rest + (done ? decoder.decode() : decoder.decode(value, { stream: true }))).split("\n");
      rest = lines.pop();
      for (const line of lines) ended = handle(JSON.parse(line), pen) || ended;
      if (done) break;
    }
    if (!ended) show(find("message"), "The text is incomplete: the server closed the connection.");
  }

  function handle(item, pen) {
    if ("text" in item) {
      pen.add(item.text);
      return false;
    }
    if ("error" in item) show(find("message"), item.error);
    else finished(item);
    return true;
  }

  // Display

  function begin() {
    complain({});
    show(find("message"), "");
    story.setAttribute("aria-busy", "true");
    find("start").hidden = find("continue").hidden = find("copy").hidden = true;
    find("stop-writing").hidden = false;
    if (document.activeElement === document.body) find("stop-writing").focus();
  }

  // Clears the output once the server has accepted the request: a refusal leaves the previous text in place.
  function blank(asked, seed) {
    for (const id of ["unknown-list", "note", "made", "decoding"]) show(find(id), "");
    find("unknown").hidden = true;
    find("empty")?.remove();
    find("given").textContent = asked;
    find("written").textContent = "";
    following = true;
    return new Pen(find("written"), seed);
  }

  function end() {
    running = null;
    story.setAttribute("aria-busy", "false");
    const focused = document.activeElement === find("stop-writing");
    find("stop-writing").hidden = true;
    find("start").hidden = false;
    if (focused) find("start").focus({ preventScroll: true });
    find("continue").hidden = find("copy").hidden = find("written").textContent === "";
  }

  function finished(facts) {
    const speed = facts.tokens_per_second ? ` (${Math.round(facts.tokens_per_second).toLocaleString("en")} tokens/s)` : "";
    const tokens = facts.tokens.toLocaleString("en");
    show(find("made"), `${tokens} tokens in ${facts.seconds.toFixed(2)} s${speed} · seed ${facts.seed}`);
    show(find("decoding"), `${find("model").querySelector(`option[value="${facts.model}"]`).textContent}: ${facts.decoding}`);
    cards.get(facts.model).dataset.units = facts.units; // of a model loaded for this request, known only now
    choose();
    const unseen = facts.warnings.filter((warning) => !cards.get(facts.model).textContent.includes(warning));
    show(find("note"), [...unseen, facts.note ?? ""].join(" ").trim());
    find("unknown-list").textContent = facts.unknown.join(" ");
    find("unknown-list").hidden = false;
    find("unknown").hidden = facts.unknown.length === 0;
  }

  function stopped(pen, milliseconds) {
    if (pen === null) return;
    show(find("made"), `Stopped by you after ${(milliseconds / 1000).toFixed(2)} s · seed ${pen.seed}`);
  }

  function refused(answer) {
    const fields = answer.fields ?? {};
    complain(fields);
    const places = Object.keys(fields).map(find);
    const placed = places.length > 0 && !places.includes(null);
    show(find("message"), placed ? "Nothing was generated yet: please check the marked fields." : answer.error);
    const first = places.find((element) => element !== null);
    if (first?.closest("details")) first.closest("details").open = true;
    first?.focus();
  }

  function complain(fields) {
    for (const place of document.querySelectorAll("[data-problem]")) {
      const name = place.dataset.problem;
      show(place, fields[name] ?? "");
      if (name in fields) find(name).setAttribute("aria-invalid", "true");
      else find(name).removeAttribute("aria-invalid");
    }
  }

  // Collects deltas and shows them once per frame: a fast model sends thousands per second.
  class Pen {
    constructor(place, seed) {
      this.node = document.createTextNode("");
      place.append(this.node);
      this.waiting = "";
      this.frame = 0;
      this.seed = seed;
    }

    add(text) {
      this.waiting += text;
      if (this.frame === 0) this.frame = requestAnimationFrame(() => this.flush());
    }

    flush() {
      cancelAnimationFrame(this.frame);
      this.frame = 0;
      this.node.appendData(this.waiting);
      this.waiting = "";
      const below = story.getBoundingClientRect().bottom - window.innerHeight + 24;
      if (following && below > 0) window.scrollBy(0, below);
    }
  }

  for (const kind of ["wheel", "touchmove"]) {
    window.addEventListener(kind, () => { following = false; }, { passive: true });
  }

  // Controls

  form.addEventListener("submit", (event) => {
    if (event.submitter?.name === "preset") return;
    event.preventDefault();
    write();
  });

  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      write();
    } else if (event.key === "Escape") {
      running?.abort();
    } else if (["ArrowUp", "PageUp", "Home"].includes(event.key)) {
      following = false;
    }
  });

  find("stop-writing").addEventListener("click", () => running?.abort());

  find("continue").addEventListener("submit", (event) => {
    event.preventDefault();
    prompt.value = Array.from(find("given").textContent + find("written").textContent).slice(-longest).join("");
    count();
    write();
  });

  find("copy").addEventListener("click", async () => {
    const button = find("copy");
    const label = button.textContent;
    button.textContent = (await copied()) ? "Copied" : "Select and copy by hand";
    setTimeout(() => { button.textContent = label; }, 1600);
  });

  async function copied() {
    try {
      await navigator.clipboard.writeText(find("given").textContent + find("written").textContent);
      return true;
    } catch { // no clipboard access over plain HTTP between machines
      window.getSelection().selectAllChildren(story);
      return document.execCommand("copy");
    }
  }

  // Models and sampling styles: each model has its own settings, which a field follows until it is edited.

  const cards = new Map([...document.querySelectorAll("[data-model]")].map((card) => [card.dataset.model, card]));
  const valuesOf = (model) => JSON.parse(cards.get(model).dataset.values);
  let chosen = find("model").value;

  find("model").addEventListener("change", () => {
    const before = valuesOf(chosen);
    for (const [name, value] of Object.entries(valuesOf(find("model").value))) {
      if (find(name).value === before[name]) find(name).value = value;
    }
    choose();
    press();
  });

  function choose() {
    chosen = find("model").value;
    for (const [model, card] of cards) card.hidden = model !== chosen;
    const { units } = cards.get(chosen).dataset;
    for (const place of document.querySelectorAll("span[data-units]")) place.textContent = units;
    const large = units[0].toUpperCase() + units.slice(1);
    for (const place of document.querySelectorAll("[data-hint]")) place.textContent = place.dataset.hint.replace("UNITS", large);
  }

  const valuesBehind = (button) => (button.value === "own" ? valuesOf(chosen) : JSON.parse(button.dataset.values));

  for (const button of styleButtons) {
    button.type = "button";
    button.addEventListener("click", () => {
      for (const [name, value] of Object.entries(valuesBehind(button))) find(name).value = String(value);
      press();
    });
  }

  function press() {
    for (const button of styleButtons) {
      const same = Object.entries(valuesBehind(button)).every(([name, value]) => equal(find(name).value.trim(), String(value)));
      button.setAttribute("aria-pressed", String(same));
    }
  }

  const equal = (left, right) => left === right || (left !== "" && right !== "" && Number(left) === Number(right));

  for (const input of inputs) {
    input.addEventListener("input", press);
    if (input.dataset.step) input.addEventListener("keydown", (event) => turn(event, input));
  }

  function turn(event, input) {
    const direction = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    const value = Number(input.value);
    if (direction === undefined || !Number.isFinite(value)) return;
    event.preventDefault();
    const moved = Number((value + direction * Number(input.dataset.step)).toFixed(6));
    input.value = String(Math.min(Number(input.dataset.high), Math.max(Number(input.dataset.low), moved)));
    press();
  }

  function count() {
    const length = Array.from(prompt.value).length;
    find("counter").textContent = `${length.toLocaleString("en")} of ${longest.toLocaleString("en")}`;
  }

  prompt.addEventListener("input", count);
  for (const element of document.querySelectorAll(".needs-script")) element.hidden = false;
  if (find("written").textContent !== "") find("copy").hidden = false;
  if (document.querySelector(".more .problem:not([hidden])")) find("more").open = true;
  choose(); // a reloaded page may keep the previous choice
  count();
  press();
})();
