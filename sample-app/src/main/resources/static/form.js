// The form page: says which fields there are, and shows the values the model found.

import { post } from "./request.js";

const types = ["string", "integer", "number", "boolean"];
const byId = (id) => document.getElementById(id);

function addField(name, type) {
  const row = document.createElement("div");
  row.className = "field";
  const input = document.createElement("input");
  input.value = name;
  input.setAttribute("aria-label", "Name of the field");
  const select = document.createElement("select");
  select.setAttribute("aria-label", "Type of the field");
  select.append(...types.map((value) => new Option(value, value, value === type, value === type)));
  const remove = document.createElement("button");
  remove.type = "button";
  remove.className = "quiet";
  remove.textContent = "Remove";
  remove.addEventListener("click", () => row.remove());
  row.append(input, select, remove);
  byId("fields").append(row);
}

function fields() {
  return [...document.querySelectorAll(".field")].map((row) => ({
    name: row.querySelector("input").value.trim(),
    type: row.querySelector("select").value,
  }));
}

async function fill() {
  byId("error").textContent = "";
  byId("note").textContent = "Reading...";
  byId("fill").disabled = true;
  byId("result").hidden = true;
  try {
    const { schema, values } = await post("api/form", { text: byId("source").value, fields: fields() });
    byId("values").replaceChildren(...Object.entries(values).map(([name, value]) => {
      const entry = document.createElement("div");
      const term = document.createElement("dt");
      const shown = document.createElement("dd");
      term.textContent = name;
      shown.textContent = String(value);
      entry.append(term, shown);
      return entry;
    }));
    byId("schema").textContent = JSON.stringify(schema, null, 2);
    byId("result").hidden = false;
  } catch (failure) {
    byId("error").textContent = failure.message;
  } finally {
    byId("note").textContent = "";
    byId("fill").disabled = false;
  }
}

byId("source").value = "The movie The Silent Canyon was released in 1975.";
addField("title", "string");
addField("year", "integer");
byId("add").addEventListener("click", () => addField("", "string"));
byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  fill();
});
