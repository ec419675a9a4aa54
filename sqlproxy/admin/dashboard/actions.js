// What an operator can do from here; each is asked again before it is done.

import {byId, write} from "./page.js";

let clearing = null;

function say(text) {
  write(byId("done"), text);
  clearTimeout(clearing);
  clearing = setTimeout(() => write(byId("done"), ""), 8000);
}

// Resolves to whether the operator agreed; Escape and the first button mean no.
function confirmed(title, text, verb) {
  const dialog = byId("confirm");
  write(byId("confirm-title"), title);
  write(byId("confirm-text"), text);
  write(byId("confirm-yes"), verb);
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), {once: true}));
}

async function request(method, path, body) {
  const answer = await fetch(path, {method, headers: {"Content-Type": "application/json"},
    body: body === undefined ? undefined : JSON.stringify(body), signal: AbortSignal.timeout(60000)});
  const data = await answer.json();
  if (!answer.ok) throw new Error(data.error + (data.hint ? " (" + data.hint + ")" : ""));
  return data;
}

async function act(title, text, verb, done, ...asked) {
  if (!await confirmed(title, text, verb)) return;
  say("asking the proxy…");
  try {
    say(done(await request(...asked)));
  } catch (error) {
    say("Not done: " + error.message);
  }
}

const state = (name, value) => ["PUT", "/v1/servers/" + encodeURIComponent(name) + "/state", {state: value}];

export const VERBS = [
  {title: "Drain", when: (s) => s.state === "active", run: ({name}) => act(`Drain ${name}?`,
    "It gets no new work. Sessions leave it when their statement or transaction ends; if it is the primary, another " +
    "server becomes the primary.", "Drain", () => `${name} is being drained`, ...state(name, "drain"))},
  {title: "Maintenance", when: (s) => s.state !== "maintenance", run: ({name}) => act(`Take ${name} into maintenance?`,
    "It gets no work at all: drain it first to let transactions end.", "Maintenance",
    () => `${name} is in maintenance`, ...state(name, "maintenance"))},
  {title: "Activate", when: (s) => s.state !== "active", run: ({name}) => act(`Give ${name} work again?`,
    "It takes reads as soon as it is synced, and may become the primary.", "Activate",
    () => `${name} is active`, ...state(name, "active"))},
  {title: "Make primary", when: (s) => s.state === "active" && s.role === "replica", run: ({name}) => act(
    `Make ${name} the primary?`, "Writes go there from now on; transactions that are open stay where they are until " +
    "they end, and no statement fails.", "Switch over", () => `${name} is the primary`, "POST", "/v1/switchover", {server: name})},
];

export const switchover = () => act("Switch over to the next best server?", "The candidate with the lowest priority " +
  "number, then the lowest index, becomes the primary.", "Switch over", (data) => `${data.primary || "another server"} is the primary`,
  "POST", "/v1/switchover", {});

export const END = {title: "End", label: (s) => `End session ${s.id} of ${s.user}`, run: (s) => act(`End session ${s.id}?`,
  `${s.user}@${s.host} loses its connection` + (s.in_transaction ? " and its open transaction." : "."), "End it",
  () => `session ${s.id} was ended`, "DELETE", "/v1/sessions/" + s.id)};
