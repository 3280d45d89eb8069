// The document page: hands a document over, asks about it, and shows what the answer rests on.

import { post } from "./request.js";

const example = [
  "The returns period of the Krat shop is 63 days.",
  "Morgan is the manager of Vathaplax.",
  "The pharmacy is open from 8 to 16.",
  "The deposit is 47 days.",
  "The Drurit project ends on 2032-02-28.",
  "Ingrid's favourite colour is crimson.",
];

const suggestions = [
  "How many days is the returns period of the Krat shop?",
  "Who is the manager of Vathaplax?",
  "When is the pharmacy open?",
];

const byId = (id) => document.getElementById(id);
let current = null;

async function guarded(action) {
  byId("error").textContent = "";
  try {
    await action();
  } catch (failure) {
    byId("error").textContent = failure.message;
  }
}

async function use() {
  byId("document-note").textContent = "Reading...";
  byId("ask").disabled = true;
  const added = await post("api/documents", { text: byId("document").value }).catch((failure) => {
    byId("document-note").textContent = "";
    throw failure;
  });
  current = added.id;
  byId("document-note").textContent = `${added.passages} passages have their vectors.`;
  byId("ask").disabled = false;
}

async function ask(question) {
  if (!question.trim()) {
    return;
  }
  if (current === null) {
    await use();
  }
  byId("question").value = question;
  byId("answer").textContent = "";
  byId("sources-box").hidden = true;
  byId("ask").disabled = true;
  try {
    const { text, sources } = await post(`api/documents/${current}/questions`, { text: question });
    byId("answer").textContent = text || "(empty answer)";
    byId("sources").replaceChildren(...sources.map((source) => {
      const item = document.createElement("li");
      item.textContent = source.text;
      const score = document.createElement("span");
      score.className = "score";
      score.textContent = source.score.toFixed(2);
      item.append(score);
      return item;
    }));
    byId("sources-box").hidden = sources.length === 0;
  } finally {
    byId("ask").disabled = false;
  }
}

byId("document").value = example.join("\n");
byId("document").addEventListener("input", () => {
  current = null;
  byId("document-note").textContent = "Changed: use it again.";
});
byId("document-form").addEventListener("submit", (event) => {
  event.preventDefault();
  guarded(use);
});
byId("question-form").addEventListener("submit", (event) => {
  event.preventDefault();
  guarded(() => ask(byId("question").value));
});
byId("suggestions").replaceChildren(...suggestions.map((suggestion) => {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = suggestion;
  button.addEventListener("click", () => guarded(() => ask(suggestion)));
  item.append(button);
  return item;
}));
