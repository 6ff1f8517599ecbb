// Before the page: is the server there, ready, and does it know who asks?

import * as api from "./api";
import { App } from "./app";
import { el } from "./dom";
import { loginForm } from "./login";
import { words } from "./strings";
import { applyTheme } from "./theme";

const AGAIN_MS = 1000;

function say(title: string, help: string): void {
  const found = document.querySelector(".state");
  if (found?.getAttribute("data-said") === title) return;
  document.body.replaceChildren(
    el(
      "main",
      { class: "before" },
      el("div", { class: "state", role: "status", "data-said": title }, el("h1", {}, title), el("p", {}, help)),
    ),
  );
}

async function begin(): Promise<void> {
  let status: api.Status;
  const entering = api.session();
  entering.catch(() => undefined);
  try {
    status = await api.status();
  } catch {
    say(words.title, words.gone);
    setTimeout(() => void begin(), 3 * AGAIN_MS);
    return;
  }
  if (status.state === "warming") {
    say(words.title, words.warming);
    setTimeout(() => void begin(), AGAIN_MS);
    return;
  }
  if (status.state === "failed") {
    say(words.failed, status.message ?? "");
    return;
  }
  try {
    new App(status, await entering);
  } catch (error) {
    if (error instanceof api.Refusal && error.status === 401) {
      const form = loginForm((session) => new App(status, session));
      document.body.replaceChildren(el("main", { class: "before" }, form));
    } else {
      say(words.wentWrong, error instanceof api.Refusal ? error.detail : String(error));
    }
  }
}

applyTheme();
void begin();
