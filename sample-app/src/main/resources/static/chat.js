// The chat page: asks the server, shows the answer while it is written, and stops it on request.

const suggestions = [
  "What is weight prefetching?",
  "What is GGUF?",
  "How does double buffering work?",
  "Can you introduce yourself?",
  "Please count from 38 up to 42.",
  "Could you write me a story about a parrot called Lucia?",
];

/** These need the tools, and switch them on. */
const toolSuggestions = ["What is the time in Madrid?", "How much is 31 multiplied by 7?"];

const conversationKey = "prefetch.conversation";

const page = Object.fromEntries(
  ["model-name", "model-facts", "new-conversation", "welcome", "suggestions", "messages", "composer", "text", "send",
    "stop", "status", "tools"].map((id) => [id, document.getElementById(id)]),
);

/** The answer being written: {conversation, abort}; null while the model rests. */
let running = null;

/** Does a request and returns its response; a refusal becomes an error with the server's own words. */
async function request(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("The server cannot be reached. Is it still running?");
  }
  if (!response.ok) {
    const problem = await response.json().catch(() => ({}));
    throw new Error(problem.detail || `The server answered ${response.status}.`);
  }
  return response;
}

async function conversationId() {
  let id = sessionStorage.getItem(conversationKey);
  if (!id) {
    id = (await (await request("api/conversations", { method: "POST" })).json()).id;
    sessionStorage.setItem(conversationKey, id);
  }
  return id;
}

/** Yields {name, data} for every event of a text/event-stream body (HTML standard, section 9.2.6). */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) {
      return;
    }
    const blocks = (rest + value).split(/\r?\n\r?\n/);
    rest = blocks.pop();
    for (const block of blocks) {
      let name = "message";
      const data = [];
      for (const line of block.split(/\r?\n/)) {
        const [, field, content] = line.match(/^([^:]*):? ?(.*)$/s);
        if (field === "event") {
          name = content;
        } else if (field === "data") {
          data.push(content);
        }
      }
      if (data.length) {
        yield { name, data: JSON.parse(data.join("\n")) };
      }
    }
  }
}

/** Adds a message to the list and returns its element. Texts are never taken for HTML. */
function addMessage(role, text = "") {
  page.welcome.hidden = true;
  const message = document.createElement("article");
  message.className = `message ${role}`;
  message.setAttribute("aria-label", role === "user" ? "You" : role === "error" ? "Error" : "Model");
  const content = document.createElement("div");
  content.className = "text";
  content.textContent = text;
  message.append(content);
  page.messages.append(message);
  scrollToEnd(true);
  return message;
}

function addError(message) {
  addMessage("error", message).setAttribute("role", "alert");
}

function addFacts(message, facts) {
  const line = document.createElement("p");
  line.className = "facts";
  for (const fact of facts) {
    const part = document.createElement("span");
    part.textContent = fact;
    line.append(part);
  }
  message.append(line);
}

/** What a finished answer cost, in words. */
function factsOf(done) {
  const facts = [];
  if (done.tokensPerSecond !== null) {
    facts.push(`${done.tokensPerSecond.toFixed(1)} tokens/s`);
  }
  if (done.timeToFirstTokenMillis !== null) {
    facts.push(`first token after ${duration(done.timeToFirstTokenMillis)}`);
  }
  if (done.completionTokens !== null) {
    facts.push(`${done.promptTokens} prompt + ${done.completionTokens} answer tokens`);
  }
  if (done.finishReason === "cancelled") {
    facts.push(`stopped after ${duration(done.totalMillis)}`);
  } else if (done.finishReason === "length") {
    facts.push("cut off: no more tokens allowed or no room in the context");
  }
  return facts;
}

function duration(millis) {
  return millis < 1000 ? `${millis.toFixed(0)} ms` : `${(millis / 1000).toFixed(1)} s`;
}

/** Keeps the end in view, unless the reader has scrolled away from it. */
function scrollToEnd(force = false) {
  const view = page.messages.parentElement;
  if (force || view.scrollHeight - view.scrollTop - view.clientHeight < 80) {
    view.scrollTop = view.scrollHeight;
  }
}

function setRunning(value) {
  running = value;
  page.send.hidden = running !== null;
  page.stop.hidden = running === null;
  page.stop.disabled = false;
}

async function ask(text) {
  if (running || !text.trim()) {
    return;
  }
  addMessage("user", text);
  const abort = new AbortController();
  const turn = { abort, conversation: null };
  setRunning(turn);
  let answer = null;
  try {
    turn.conversation = await conversationId();
    const response = await request(`api/conversations/${turn.conversation}/messages`, {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "text/event-stream, application/problem+json" },
      body: JSON.stringify({ text, tools: page.tools.checked }),
      signal: abort.signal,
    });
    answer = addMessage("assistant");
    answer.setAttribute("aria-busy", "true");
    await show(response.body, answer);
  } catch (failure) {
    if (!abort.signal.aborted) {
      addError(failure.message);
    }
  } finally {
    answer?.removeAttribute("aria-busy");
    if (answer && answer.firstChild.textContent === "") {
      answer.remove();
    }
    // A conversation that was abandoned meanwhile must not end the turn of the next one.
    if (running === turn) {
      setRunning(null);
    }
  }
}

/** Shows the events of an answer as they come. */
async function show(body, answer) {
  const content = answer.firstChild;
  for await (const { name, data } of events(body)) {
    if (name === "delta") {
      content.textContent += data.text;
      scrollToEnd();
    } else if (name === "tool") {
      showCall(answer, data);
    } else if (name === "done") {
      content.textContent ||= data.finishReason === "cancelled" ? "(stopped before the first word)" : "(empty answer)";
      const facts = factsOf(data);
      addFacts(answer, facts);
      page.status.textContent = `Answer complete: ${facts.join(", ")}`;
      scrollToEnd();
      return;
    } else if (name === "error") {
      addError(data.message);
      return;
    }
  }
  throw new Error("The connection ended before the answer was complete.");
}

/** Shows a call of a tool above the answer that it is for. */
function showCall(answer, { tool, arguments: given, result }) {
  const call = document.createElement("p");
  call.className = "tool";
  const name = document.createElement("b");
  name.textContent = tool;
  call.append("Called ", name, ` with ${given}: ${result}`);
  answer.before(call);
  scrollToEnd();
}

/** Asks the server to end the answer; what was written stays, and the stream closes with its figures. */
async function stop() {
  const turn = running;
  if (!turn) {
    return;
  }
  page.stop.disabled = true;
  if (!turn.conversation) {
    turn.abort.abort();
    return;
  }
  try {
    await request(`api/conversations/${turn.conversation}/stop`, { method: "POST" });
  } catch (failure) {
    // Closing the connection stops the model as well.
    turn.abort.abort();
    addError(failure.message);
  }
}

async function newConversation() {
  const id = sessionStorage.getItem(conversationKey);
  sessionStorage.removeItem(conversationKey);
  running?.abort.abort();
  setRunning(null);
  page.messages.replaceChildren();
  page.welcome.hidden = false;
  page.text.focus();
  if (id) {
    await request(`api/conversations/${id}`, { method: "DELETE" }).catch((failure) => addError(failure.message));
  }
}

function send() {
  const text = page.text.value;
  if (running || !text.trim()) {
    return;
  }
  page.text.value = "";
  fitComposer();
  ask(text);
}

function fitComposer() {
  page.text.style.height = "auto";
  page.text.style.height = `${page.text.scrollHeight}px`;
}

function count(number) {
  const units = [[1e9, "B"], [1e6, "M"], [1e3, "k"]];
  const [size, unit] = units.find(([least]) => number >= least) ?? [1, ""];
  return `${(number / size).toFixed(size > 1 ? 1 : 0)}${unit}`;
}

async function showModel() {
  try {
    const model = await (await request("api/model")).json();
    page["model-name"].textContent = model.name;
    page["model-facts"].textContent = [
      `${count(model.parameters)} parameters`, model.quantization, `context ${model.contextLength}`,
      `${model.backend} backend, ${model.threads} ${model.threads === 1 ? "thread" : "threads"}`,
    ].join(" · ");
    page["model-facts"].title = model.device;
    document.title = `${model.name} · Prefetch`;
  } catch (failure) {
    page["model-facts"].textContent = failure.message;
  }
}

async function restoreConversation() {
  const id = sessionStorage.getItem(conversationKey);
  if (!id) {
    return;
  }
  try {
    const messages = await (await request(`api/conversations/${id}/messages`)).json();
    messages.forEach(({ role, text }) => addMessage(role, text));
  } catch (failure) {
    addError(failure.message);
  }
}

for (const suggestion of [...suggestions, ...toolSuggestions]) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = suggestion;
  button.addEventListener("click", () => {
    page.tools.checked ||= toolSuggestions.includes(suggestion);
    ask(suggestion);
  });
  item.append(button);
  page.suggestions.append(item);
}

page.composer.addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
page.text.addEventListener("keydown", (event) => {
  // isComposing: Enter that ends the input of, say, a Japanese word does not send the message.
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    send();
  }
});
page.text.addEventListener("input", fitComposer);
page.stop.addEventListener("click", stop);
page["new-conversation"].addEventListener("click", newConversation);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && running) {
    stop();
  }
});

showModel();
restoreConversation();
